/** The language of retention policies, for the help of the commands that take them. */
export const RETENTION_HELP = `Retention policies (--retention, more than once; or LACUNA_RETENTION, with commas; or retention: in the file):
  none                        keep everything, as without any policy
  time:30d                    messages of the last 30 days; a bare number is seconds
  capacity:1000000            at most so many messages
  size:50GB                   at most so much on the disk of the store, at least 16MB
  content:TOPIC=POLICY        the same for one content topic: time:7d, none, capacity:…, or size:… of its messages
  pubsub:TOPIC=POLICY         the same for one pubsub topic
  content:TOPIC=latest        only the newest message; for a pubsub topic, of each of its content topics
Policies for the same messages may be joined: 'time:2d;size:10GB'. The age is decided by what is said of the content
topic, else of the pubsub topic, else of all; caps hold wherever they are said. The oldest messages always go first.

  lacuna start --retention time:30d --retention size:50GB \\
    --retention content:/app/1/control/proto=time:3d --retention pubsub:/waku/2/rs/16/128=latest`;

/** A program of its own: opens the store in the folder it is given, and prints the code of what that ended in. */
import '../../src/platform.ts';
import { endedIn } from '../ended-in.ts';
import { openStore } from './open-store.ts';

process.stdout.write(`${await endedIn(openStore(process.argv[2]!))}\n`);

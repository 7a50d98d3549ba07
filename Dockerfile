# Two stages: the first builds, the second holds what runs. The node runs as a user of its own, keeps all it has in
# /data, and is healthy while it serves (GET /readyz).
FROM node:22-slim AS build
WORKDIR /lacuna
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev

FROM node:22-slim
LABEL org.opencontainers.image.title="lacuna" \
      org.opencontainers.image.description="Finds and fills the gaps in Waku message stores" \
      org.opencontainers.image.licenses="MIT"
WORKDIR /lacuna
COPY --from=build /lacuna/package.json ./
COPY --from=build /lacuna/node_modules ./node_modules
COPY --from=build /lacuna/dist ./dist
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
ENV NODE_ENV=production LACUNA_DATA=/data
EXPOSE 60000 8645
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8645/readyz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["start", "--json"]

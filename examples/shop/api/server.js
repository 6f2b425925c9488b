// The cart: how many things are in it is in Redis. `make api` starts it with the environment of `make dev-env`.
import { createServer } from "node:http";
import { createClient } from "redis";

const { HOST_ALIAS_IP, REDIS_URL } = process.env;
const PORT = 4000; // as in .localdev/routes

const redis = createClient({ url: REDIS_URL });
redis.on("error", (error) => console.error(`api: Redis: ${error.message}`));
await redis.connect();

const about = () => ({ service: "api", cart: "/api/cart" });
const routes = {
  "GET /": about,
  "GET /api": about,
  "GET /api/cart": async () => ({ items: Number(await redis.get("cart")) }),
  "POST /api/cart": async () => ({ items: await redis.incr("cart") }),
  "DELETE /api/cart": async () => {
    await redis.del("cart");
    return { items: 0 };
  },
};

const server = createServer(async (request, response) => {
  const route = routes[`${request.method} ${request.url.split("?")[0]}`];
  let [status, body] = [404, { error: "not found" }];
  try {
    if (route) [status, body] = [200, await route()];
  } catch (error) {
    [status, body] = [500, { error: error.message }];
  }
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(`${JSON.stringify(body)}\n`);
});

server.listen(PORT, HOST_ALIAS_IP, () => console.log(`api: listens on ${HOST_ALIAS_IP}:${PORT}`));

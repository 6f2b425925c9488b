module.exports = {
  mode: "development",
  entry: "./main.js",
  devServer: { allowedHosts: process.env.PROXY_HOSTS?.split(",") ?? "auto" },
};

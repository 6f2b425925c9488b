module.exports = {
  mode: "development",
  entry: {},
  devServer: { allowedHosts: process.env.PROXY_HOSTS?.split(",") ?? "auto" },
};

module.exports = { allowedDevOrigins: process.env.PROXY_HOSTS?.split(",") };

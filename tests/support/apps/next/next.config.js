module.exports = { allowedDevOrigins: process.env.PROXY_HOSTS?.split(",").map((host) => host.replace(/^\./, "*.")) };

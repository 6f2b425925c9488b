console.log("vite");

console.log("webpack");

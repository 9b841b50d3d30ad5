import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [svelte()],
  // Relative addresses only: behind a reverse proxy the page may stand below a prefix (http.base_path).
  base: "./",
  // The page's policy allows nothing inline, so the icon must stay a file of its own.
  build: { outDir: "dist", emptyOutDir: true, assetsInlineLimit: 0 },
});

// Builds the pages into one folder: `node build.mjs [folder]`, `dist` beside this file when none is named.
//
// The loading page is built by itself and into one file: it is served on a preview's own origin, where /assets/ is the app's.
import {readFile, rm} from 'node:fs/promises';
import {dirname, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {build} from 'vite';

const root = dirname(fileURLToPath(import.meta.url));
const outDir = resolve(process.argv[2] ?? resolve(root, 'dist'));

/** Puts a page's scripts and styles into the page. */
function inlined() {
  return {
    name: 'inlined',
    enforce: 'post',
    generateBundle(_options, bundle) {
      const pages = Object.values(bundle).filter((file) => file.fileName.endsWith('.html'));
      for (const page of pages) {
        let html = page.source;
        for (const file of Object.values(bundle)) {
          const name = file.fileName.replaceAll('.', '\\.');
          // A function as replacement: a `$` in the code means nothing.
          if (file.type === 'chunk') {
            const code = file.code.replaceAll('</script', '<\\/script');
            html = html.replace(new RegExp(`<script[^>]*src="/${name}"[^>]*></script>`), '');
            html = html.replace('</body>', () => `<script type="module">${code}</script>\n</body>`);
          } else if (file.fileName.endsWith('.css')) {
            html = html.replace(new RegExp(`<link[^>]*href="/${name}"[^>]*>`), () => `<style>${file.source}</style>`);
          } else {
            continue;
          }
          delete bundle[file.fileName];
        }
        if (/(?:src|href)="\/|url\(["']?\//.test(html)) throw new Error(`${page.fileName} still refers to another file`);
        page.source = html;
      }
    },
  };
}

const shared = {root, configFile: false, logLevel: 'warn', publicDir: false, appType: 'mpa'};
const output = {
  outDir,
  emptyOutDir: false,
  target: 'es2022',
  assetsInlineLimit: 0,
  modulePreload: {polyfill: false},
  chunkSizeWarningLimit: 1024,
};

await rm(outDir, {recursive: true, force: true});
await build({
  ...shared,
  build: {...output, license: {fileName: 'assets/licenses.md'}, rollupOptions: {input: ['index.html', 'terminal.html', 'dashboard.html', 'iframe.html'].map((page) => resolve(root, page))}},
});
await build({
  ...shared,
  plugins: [inlined()],
  build: {...output, rollupOptions: {input: resolve(root, 'loading.html')}},
});

for (const page of ['index.html', 'terminal.html', 'dashboard.html', 'iframe.html', 'loading.html']) {
  await readFile(resolve(outDir, page));  // a page that is missing fails the build here, not the service later
}

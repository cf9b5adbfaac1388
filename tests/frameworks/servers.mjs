// What is started, and what it is asked for. PORT in a command and in a path is a free port; commands are typed at the prompt of a
// shell in the folder of the project.
//
//   name, project, command
//   type       what previewd should call it
//   text       in the page; null: the page is drawn by its scripts
//   asset      a path that the page needs
//   form       a path that a form is posted to, and what the answer says
//   hmr        path, protocol, where its token is found (path, pattern), and what its client says first
//   edit       file, old text, new text: the HMR socket says something after it
//   restart    file that is touched so that the server restarts itself
//   sameSocket  its restart keeps the socket
//   https      it speaks HTTPS, with a certificate that it has signed itself
//   base       it was told its base, so its pages are below the path address
//   originOnly something of it cannot work at its path address
//   needs      a program that may be missing
//   fast       part of the fast run
const viteHmr = {path: '/', protocol: 'vite-hmr', token: ['/@vite/client', /wsToken = "([^"]+)/]};
const hello = 'hello preview';

export const servers = [
  {name: 'Vite 8', package: 'vite', project: 'vite8', command: 'npm run dev -- --port PORT', type: 'vite', text: null, asset: '/src/main.js',
    hmr: viteHmr, edit: ['src/greet.js', 'hello', 'good day'], restart: 'vite.config.js', fast: true},
  {name: 'Vite 8, --base', package: 'vite', project: 'vite8', command: 'npx vite --port PORT --base $PREVIEWD_BASE', type: 'vite', text: null,
    asset: '/preview/p/u/src/main.js', base: true,
    hmr: {...viteHmr, path: '/preview/p/u/', token: ['/preview/p/u/@vite/client', viteHmr.token[1]]}, edit: ['src/greet.js', 'hello', 'good day']},
  {name: 'Vite 8, HTTPS', package: 'vite', project: 'vite8-https', command: 'npm run dev -- --port PORT', type: 'vite', text: null,
    asset: '/src/main.js', https: true, hmr: viteHmr, edit: ['src/greet.js', 'hello', 'good day'], restart: 'vite.config.js', fast: true},
  {name: 'Vite 5', package: 'vite', project: 'vite5', command: 'npm run dev -- --port PORT', type: 'vite', text: null, asset: '/src/main.js',
    hmr: viteHmr, edit: ['src/greet.js', 'hello', 'good day']},
  {name: 'Astro', package: 'astro', project: 'astro', command: 'npm run dev -- --port PORT', type: 'astro', asset: '/@vite/client', hmr: viteHmr,
    edit: ['src/pages/index.astro', 'hello', 'good day']},
  {name: 'Nuxt', package: 'nuxt', project: 'nuxt', command: 'npm run dev -- --port PORT', type: 'nuxt', asset: '/_nuxt/@vite/client',
    hmr: {...viteHmr, path: '/_nuxt/', token: ['/_nuxt/@vite/client', viteHmr.token[1]]}, edit: ['app/app.vue', 'hello', 'good day']},
  {name: 'React Router', package: '@react-router/dev', project: 'react-router', command: 'npm run dev -- --port PORT', type: 'react-router',
    asset: '/@vite/client', form: ['/?index', 'it was posted'], hmr: viteHmr, edit: ['app/routes/home.jsx', 'hello', 'good day']},
  // Its restarts are not measured: in some of them Vite answers nothing for a minute, then "transport invoke timed out after 60000ms".
  {name: 'SvelteKit', package: '@sveltejs/kit', project: 'sveltekit', command: 'npm run dev -- --port PORT', type: 'sveltekit',
    asset: '/src/routes/+page.svelte', hmr: viteHmr, edit: ['src/routes/+page.svelte', 'hello', 'good day']},
  {name: 'Remix', package: '@remix-run/dev', project: 'remix', command: 'npm run dev -- --port PORT', type: 'remix', asset: '/@vite/client',
    form: ['/?index', 'it was posted'], hmr: viteHmr, edit: ['app/routes/_index.jsx', 'hello', 'good day'], restart: 'vite.config.js'},
  {name: 'VitePress', package: 'vitepress', project: 'vitepress', command: 'npm run dev -- --port PORT', type: 'vite', text: null,
    asset: '/@vite/client', hmr: viteHmr, edit: ['docs/index.md', 'hello', 'good day'], restart: 'docs/.vitepress/config.mjs'},
  {name: 'Storybook', package: 'storybook', project: 'storybook', command: 'npm run storybook -- -p PORT', type: 'storybook', text: null,
    asset: '/src/label.js', hmr: viteHmr, edit: ['src/label.js', 'hello', 'good day']},
  {name: 'concurrently: an API, Vite', package: 'concurrently', project: 'concurrently', command: 'PORT=PORT npm run dev', type: 'vite', text: null,
    asset: '/src/main.js', hmr: viteHmr, edit: ['src/greet.js', 'hello', 'good day'], restart: 'vite.config.js'},
  {name: 'Next', package: 'next', project: 'next', command: 'npm run dev -- -p PORT', type: 'next', asset: /\/_next\/static\/[^"]+\.js/,
    hmr: {path: '/_next/hmr'}, edit: ['app/page.js', 'hello', 'good day'], restart: 'next.config.js', fast: true},
  {name: 'webpack-dev-server', package: 'webpack-dev-server', project: 'webpack', command: 'npm start -- --port PORT', type: 'webpack', text: null,
    asset: '/main.js', hmr: {path: '/ws'}, edit: ['src/index.js', 'hello', 'good day'], fast: true},
  {name: 'Create React App', package: 'react-scripts', project: 'react-scripts', command: 'PORT=PORT BROWSER=none npm start', type: 'webpack',
    text: null, asset: '/static/js/bundle.js', hmr: {path: '/ws'}, edit: ['src/index.js', 'hello', 'good day']},
  {name: 'Rspack', package: '@rspack/cli', project: 'rspack', command: 'npm run dev -- --port PORT', type: 'rspack', text: null, asset: '/main.js',
    hmr: {path: '/ws'}, edit: ['src/index.js', 'hello', 'good day']},
  {name: 'Rsbuild', package: '@rsbuild/core', project: 'rsbuild', command: 'npm run dev -- --port PORT', type: 'rsbuild', text: null,
    asset: '/static/js/index.js',
    hmr: {path: '/rsbuild-hmr', token: ['/static/js/index.js', /init\)\(\s*["']([A-Za-z0-9_-]{6,})/]},
    edit: ['src/index.js', 'hello', 'good day']},
  {name: 'Parcel', package: 'parcel', project: 'parcel', command: 'npm run dev -- --port PORT', type: 'parcel', text: null, asset: /\/[^"]+\.js/,
    hmr: {path: '/'}, edit: ['main.js', 'hello', 'good day']},
  {name: 'Angular', package: '@angular/cli', project: 'angular', command: 'NG_CLI_ANALYTICS=false npm start -- --port PORT', type: 'angular',
    text: null, asset: '/main.js', hmr: viteHmr, edit: ['src/main.ts', 'hello', 'good day']},
  {name: 'Gatsby', package: 'gatsby', project: 'gatsby', command: 'GATSBY_TELEMETRY_DISABLED=1 npm run develop -- -p PORT', type: 'gatsby',
    text: null, asset: '/commons.js', hmr: {path: '/socket.io/?EIO=4&transport=websocket', says: ['40']},
    edit: ['src/pages/index.js', 'hello', 'good day'], originOnly: true},
  {name: 'esbuild --serve', package: 'esbuild', project: 'node-tools', command: 'npm run esbuild -- --serve=PORT', type: 'esbuild',
    asset: '/style.css'},
  {name: 'Eleventy', package: '@11ty/eleventy', project: 'node-tools', command: 'npm run eleventy -- --port=PORT', type: 'eleventy', hmr: {path: '/'},
    edit: ['site/index.md', 'hello', 'good day']},
  {name: 'live-server', package: 'live-server', project: 'node-tools', command: 'npm run live-server -- --port=PORT', type: 'live-server',
    asset: '/style.css', hmr: {path: '/ws'}, edit: ['www/style.css', 'green', 'blue']},
  {name: 'Browsersync', package: 'browser-sync', project: 'browser-sync', command: 'npm start -- --port PORT', type: 'browser-sync',
    asset: '/style.css', hmr: {path: '/browser-sync/socket.io/?EIO=4&transport=websocket', says: ['40/browser-sync,']},
    edit: ['www/style.css', 'green', 'blue']},
  {name: 'http-server', package: 'http-server', project: 'node-tools', command: 'npm run http-server -- -p PORT', type: 'http',
    asset: '/style.css'},
  {name: 'serve', package: 'serve', project: 'node-tools', command: 'npm run serve -- -l PORT', type: 'http', asset: '/style.css'},
  {name: 'json-server', package: 'json-server', project: 'node-tools', command: 'npm run json-server -- --port PORT', type: 'express',
    text: 'JSON Server', asset: '/notes'},
  {name: 'nodemon, Express', package: 'nodemon', project: 'node-tools', command: 'PORT=PORT npm run nodemon', type: 'express',
    restart: 'express.mjs', fast: true},
  {name: 'node --watch, Express', package: 'express', project: 'node-tools', command: 'PORT=PORT npm run node-watch', type: 'express',
    restart: 'express.mjs'},
  {name: 'tsx watch', package: 'tsx', project: 'node-tools', command: 'PORT=PORT npm run tsx', type: 'http', restart: 'server.ts'},
  {name: 'Fastify', package: 'fastify', project: 'node-tools', command: 'PORT=PORT npm run fastify', type: 'http', text: '"preview"'},
  {name: 'bun --hot', package: 'bun', project: 'bun', command: 'PORT=PORT npm run hot', type: 'http', restart: 'server.ts', sameSocket: true},
  {name: 'bun --watch', package: 'bun', project: 'bun', command: 'PORT=PORT npm run watch', type: 'http', restart: 'server.ts'},
  {name: 'bun index.html', package: 'bun', project: 'bun', command: 'PORT=PORT npm run page', type: 'http', asset: /\/_bun\/[^"]+\.js/,
    hmr: {path: '/_bun/hmr', says: ['she', 'n/']}, edit: ['greet.ts', 'hello', 'good day']},
  {name: 'deno --watch', package: 'deno', project: 'deno', command: 'DENO_NO_UPDATE_CHECK=1 PORT=PORT npm run watch', type: 'http',
    restart: 'server.ts'},
  {name: 'deno serve', package: 'deno', project: 'deno', command: 'DENO_NO_UPDATE_CHECK=1 npm run serve -- --port PORT handler.ts', type: 'http'},
  {name: 'python3 -m http.server', project: 'python', command: '/usr/bin/python3 -m http.server PORT', type: 'python', needs: '/usr/bin/python3',
    fast: true},
  {name: 'python3, ssl', project: 'python', command: '/usr/bin/python3 https_server.py PORT', type: 'python', needs: '/usr/bin/python3',
    https: true, fast: true},
  {name: 'Flask', project: 'python', command: '/usr/bin/flask --app flask_app run --port PORT', type: 'flask', needs: '/usr/bin/flask'},
  {name: 'Flask, --debug', project: 'python', command: '/usr/bin/flask --app flask_app --debug run --port PORT', type: 'flask',
    needs: '/usr/bin/flask', restart: 'flask_app.py', sameSocket: true},
  {name: 'uvicorn --reload', project: 'python', command: '/usr/bin/uvicorn --reload --port PORT asgi_app:app', type: 'uvicorn',
    needs: '/usr/bin/uvicorn', hmr: {path: '/', client: true}, restart: 'asgi_app.py', sameSocket: true},
  {name: 'gunicorn --reload', project: 'python', command: '/usr/bin/gunicorn --workers 2 --reload --bind 127.0.0.1:PORT wsgi_app:app', type: 'http',
    needs: '/usr/bin/gunicorn', restart: 'wsgi_app.py', sameSocket: true},
  {name: 'Django', project: 'django', command: '/usr/bin/python3 manage.py runserver PORT', type: 'django', asset: '/static/style.css',
    needs: '/usr/lib/python3/dist-packages/django', restart: 'views.py'},
  {name: 'php -S', project: 'php', command: 'php -S localhost:PORT', type: 'php', needs: '/usr/bin/php'},
  {name: 'WEBrick', project: 'ruby', command: 'ruby -run -e httpd public -p PORT', type: 'webrick', needs: '/usr/bin/ruby'},
  {name: 'Puma', project: 'ruby', command: 'puma -b tcp://127.0.0.1:PORT', type: 'http', needs: '/usr/bin/puma'},
  {name: 'Sinatra', project: 'ruby', command: 'ruby app.rb -p PORT', type: 'http', needs: '/usr/bin/puma'},
  {name: 'Rails', project: 'rails', command: 'ruby bin/rails server -p PORT', type: 'rails', asset: '/style.css', needs: '/usr/bin/rails',
    restart: 'app/controllers/pages_controller.rb', sameSocket: true},
  {name: 'go run', project: 'go', command: 'PORT=PORT go run .', type: 'http', needs: '/usr/bin/go'},
  {name: 'nginx', project: 'web-servers', type: 'http', asset: '/style.css', needs: '/usr/sbin/nginx',
    command: 'sed s/@port@/PORT/ nginx.template >nginx.conf && /usr/sbin/nginx -p . -c nginx.conf -g "daemon off;"'},
  {name: 'caddy run', project: 'web-servers', command: 'PORT=PORT caddy run', type: 'http', asset: '/style.css', needs: '/usr/bin/caddy'},
  {name: 'caddy file-server', project: 'web-servers', command: 'caddy file-server --listen 127.0.0.1:PORT --root www', type: 'http',
    asset: '/style.css', needs: '/usr/bin/caddy'},
];

#include "previewd/actors/detection/server_kind.hpp"

#include <catch2/catch.hpp>

using namespace previewd::actors;

TEST_CASE("a command says what it runs, and its arguments do not", "[actors][detector][kind]") {
  const auto [command, kind] = GENERATE(table<std::string, std::string>({
    {"node /srv/app/node_modules/.bin/rsbuild dev --port 3000", "rsbuild"},
    {"node /srv/app/node_modules/.bin/rspack serve --port 3000", "rspack"},
    {"node /srv/app/node_modules/.bin/browser-sync start --server www", "browser-sync"},
    {"node /srv/app/node_modules/.bin/vite", "vite"},
    {"node --inspect node_modules/vite/bin/vite.js", "vite"},
    {"/usr/bin/node /srv/app/node_modules/react-scripts/scripts/start.js", "webpack"},
    {"webpack", "webpack"},
    {"next-server (v16.4.6)", "next"},
    {"ng serve (app)", "angular"},
    {"/usr/bin/python3.11 manage.py runserver", "django"},
    {"/usr/bin/python3 -m flask run", "flask"},
    {"/usr/bin/python3 /usr/bin/flask run", "flask"},
    {"php -S localhost:8000", "php"},
    {"node server.js", ""},
    {"node server.js vite", ""},
    {"/opt/vite/bin/node app.js", ""},
    {"python3 -m http.server --directory vite", ""},
    {"cat vite", ""},
    {"sh -c vite --port 3", "vite"},
    {"", ""},
    {"   ", ""},
  }));

  INFO(command);
  CHECK(kind_of_command(command) == kind);
}

TEST_CASE("the answer decides the kind unless it is one that others are built upon",
  "[actors][detector][kind]") {
  const std::string astro = "node /srv/app/node_modules/.bin/astro dev";

  CHECK(kind_of("vite", astro) == "astro");
  CHECK(kind_of("express", "webpack") == "webpack");
  CHECK(kind_of("http", "node node_modules/.bin/parcel index.html") == "parcel");
  CHECK(kind_of("http", "node server.js") == "http");
  CHECK(kind_of("nuxt", "node node_modules/.bin/vite") == "nuxt");
  CHECK(kind_of("websocket", "node node_modules/.bin/vite") == "websocket");
}

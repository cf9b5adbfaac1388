#include "previewd/web/assets.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>

using namespace previewd;

TEST_CASE("every page is embedded, and found with or without its slash", "[web]") {
  for (const std::string name :
    {"index.html", "terminal.html", "dashboard.html", "iframe.html", "loading.html"}) {
    CAPTURE(name);
    const auto* page = web::find_asset(name);
    REQUIRE(page != nullptr);
    CHECK(page->path == name);
    CHECK(page == web::find_asset("/" + name));
    CHECK(page->content_type == "text/html; charset=utf-8");
    CHECK(page->bytes.substr(0, 15) == "<!doctype html>");
    CHECK_FALSE(page->content_security_policy.empty());
  }
}

TEST_CASE("a path that is no asset is not found", "[web]") {
  for (const auto* path :
    {"", "/", "terminal", "//terminal.html", "terminal.html/", "assets/", "../CMakeLists.txt"}) {
    CAPTURE(path);
    CHECK(web::find_asset(path) == nullptr);
  }
}

TEST_CASE("assets are sorted, unlike, and tagged by their bytes", "[web]") {
  const auto all = web::assets();
  REQUIRE(all.size() >= 4);
  CHECK(std::is_sorted(all.begin(), all.end(),
    [](const web::asset& a, const web::asset& b) { return a.path < b.path; }));
  std::set<std::string_view> tags;
  for (const auto& each : all) {
    CAPTURE(each.path);
    CHECK(web::find_asset(each.path) == &each);
    CHECK_FALSE(each.bytes.empty());
    CHECK(each.etag.front() == '"');
    CHECK(each.etag.back() == '"');
    tags.insert(each.etag);
  }
  CHECK(tags.size() == all.size());
}

TEST_CASE(
  "what a page refers to under /assets/ is embedded, and code and styles may be kept for ever",
  "[web]") {
  for (const auto* name : {"index.html", "terminal.html", "dashboard.html", "iframe.html"}) {
    const auto html = web::find_asset(name)->bytes;
    for (auto at = html.find("\"/assets/"); at != std::string_view::npos;
         at = html.find("\"/assets/", at + 1)) {
      const auto path = html.substr(at + 1, html.find('"', at + 1) - at - 1);
      CAPTURE(path);
      const auto* file = web::find_asset(path);
      REQUIRE(file != nullptr);
      if (path.substr(path.rfind('.')) == ".md") continue;
      CHECK(file->cache_control.find("immutable") != std::string_view::npos);
    }
  }
}

TEST_CASE("the loading page is complete in itself and names its workspace", "[web]") {
  const auto page = web::loading_page(
    {.project = "shop", .user = "ann", .status_path = "/preview/shop/ann/.previewd/status"});
  CHECK(page.find("data-port=\"\"") != std::string::npos);
  CHECK(page.find("data-project=\"shop\"") != std::string::npos);
  CHECK(page.find("data-user=\"ann\"") != std::string::npos);
  CHECK(page.find("data-status=\"/preview/shop/ann/.previewd/status\"") != std::string::npos);
  CHECK(page.find("{{project}}") == std::string::npos);
  CHECK(page.find("{{user}}") == std::string::npos);
  CHECK(page.find("{{port}}") == std::string::npos);
  CHECK(page.find("{{status}}") == std::string::npos);
  CHECK(page.find("src=\"/") == std::string::npos);
  CHECK(page.find("href=\"/") == std::string::npos);
}

TEST_CASE("the loading page of a further server names its port", "[web]") {
  const auto page = web::loading_page({.project = "shop", .user = "ann", .port = 3001});
  CHECK(page.find("data-port=\"3001\"") != std::string::npos);
}

TEST_CASE("names are escaped in the loading page, and never taken for placeholders", "[web]") {
  const auto page = web::loading_page({.project = "<b>\"&'", .user = "{{project}}"});
  CHECK(page.find("data-project=\"&lt;b&gt;&quot;&amp;&#39;\"") != std::string::npos);
  CHECK(page.find("data-user=\"{{project}}\"") != std::string::npos);
  CHECK(page.find("<b>") == std::string::npos);
}

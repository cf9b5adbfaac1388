// Who may (auth.mode = token): nothing is reached without the right to it, and every right ends
// where it says.
#include <catch2/catch.hpp>

#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/system/guarded_service.hpp"

using namespace std::chrono_literals;
using namespace previewd;
using namespace previewd::test;

TEST_CASE("nothing answers to somebody who shows no right", "[system][auth][I6]") {
  const guarded_service service;
  const noting_server dev;
  const std::string host = register_for_ann(service, dev);

  for (const char* target :
    {"GET /", "GET /dashboard", "GET /terminal/shop/ann", "GET /assets/x.js", "GET /api/terminals",
      "POST /api/terminals", "GET /api/servers", "GET /api/servers/1", "GET /api/events",
      "GET /api/preview-status/shop/ann", "GET /api/terminals/x/attach", "DELETE /api/terminals/x",
      "GET /debug/connections", "GET /debug/state", "GET /metrics", "POST /api/hand-overs",
      "GET /preview/shop/ann/iframe", "GET /preview/shop/ann/.previewd/status", "GET /nosuch"}) {
    INFO(target);
    const http_answer answer = service.ask({}, target);
    CHECK(answer.status == 401);
    CHECK(field_of(answer, "WWW-Authenticate") == "Bearer realm=\"previewd\"");
    CHECK(answer.body.find("not_authenticated") != std::string::npos);
  }
  for (const char* path : {"/", "/src/main.ts", "/.previewd/status", "/.previewd/events"}) {
    INFO(path);
    CHECK(service.ask("Host: " + host + "\r\n", std::string{"GET "} + path).status == 401);
  }
  // Whether a preview exists is not everybody's to know.
  CHECK(service.ask("Host: nosuch." + host + "\r\n", "GET /").status == 401);
  CHECK(dev.port() != 0);
  websocket_client upgrade{service.live->port(), "/api/terminals/x/attach"};
  CHECK(upgrade.head.find(" 401 ") != std::string::npos);
  CHECK(service.ask({}, "GET /healthz").status == 200);
  CHECK(service.ask({}, "GET /readyz").status == 200);
}

TEST_CASE("a token that is no good is refused, and says why", "[system][auth][I6]") {
  const guarded_service service;
  const auto answer_to = [&](const std::string& token) {
    return service.ask(bearer(token), "GET /api/terminals");
  };

  const http_answer expired = answer_to(hs256_token(secret, claims_of("*", "*", "edit", -1h)));
  const http_answer forged = answer_to(hs256_token(secret + "!", claims_of("*", "*", "edit")));
  const http_answer none = answer_to(to_sign({{"alg", "none"}}, claims_of("*", "*", "edit")) + ".");

  for (const http_answer* each : {&expired, &forged, &none}) {
    CHECK(each->status == 401);
    CHECK(field_of(*each, "WWW-Authenticate").find("invalid_token") != std::string::npos);
  }
  CHECK(expired.body.find("expired") != std::string::npos);
  CHECK(forged.body.find("signature") != std::string::npos);
  CHECK(service.ask("Authorization: Basic YTpi\r\n", "GET /api/terminals").status == 401);
  // In an address it would end up in logs and histories.
  const std::string token = hs256_token(secret, claims_of("*", "*", "edit"));
  CHECK(service.ask({}, "GET /api/terminals?access_token=" + token).status == 401);
}

TEST_CASE("a token opens its own workspace and no other", "[system][auth][I6]") {
  const guarded_service service;
  const noting_server dev;
  const std::string host = register_for_ann(service, dev);
  const std::string anns = service.open_terminal(ann, "ann");
  const json server = service.list(ann, "GET /api/servers")["servers"][0];
  const std::string generation = std::to_string(server["generation"].get<uint64_t>());

  SECTION("of terminals") {
    CHECK(service.ask(bob, "POST /api/terminals", {{"project", "shop"}, {"user", "ann"}}).status ==
          403);
    for (const std::string& target :
      {"GET /api/terminals/" + anns, "GET /api/terminals/" + anns + "/output?after=0",
        "GET /api/terminals/" + anns + "/attach", "DELETE /api/terminals/" + anns,
        "POST /api/terminals/" + anns + "/input", "POST /api/terminals/" + anns + "/resize",
        "POST /api/terminals/" + anns + "/signal"}) {
      INFO(target);
      const http_answer answer = service.ask(bob, target, {{"cols", 80}, {"rows", 24}});
      CHECK(answer.status == 404);
      // As if there were none.
      CHECK(json::parse(answer.body)["detail"] == "No terminal has the id " + anns + ".");
    }
    CHECK(service.list(bob, "GET /api/terminals")["terminals"].empty());
    CHECK(service.ask(bob, "GET /api/terminals?user=ann").status == 403);
    CHECK(service.ask(bob, "GET /api/terminals?project=other").status == 403);
    CHECK(service.list(ann, "GET /api/terminals")["terminals"].size() == 1);
    CHECK(service.ask(ann, "GET /api/terminals/" + anns).status == 200);
    websocket_client bobs{service.live->port(), "/api/terminals/" + anns + "/attach", bob};
    CHECK(bobs.head.find(" 404 ") != std::string::npos);
  }
  SECTION("of servers") {
    for (const char* method : {"GET", "PATCH", "DELETE"}) {
      INFO(method);
      const http_answer answer =
        service.ask(bob, std::string{method} + " /api/servers/" + generation, {{"primary", true}});
      CHECK(answer.status == 404);
      CHECK(json::parse(answer.body)["code"] == "server_not_found");
    }
    CHECK(
      service
        .ask(bob, "POST /api/servers", {{"project", "shop"}, {"user", "ann"}, {"port", dev.port()}})
        .status == 403);
    CHECK(service.list(bob, "GET /api/servers")["servers"].empty());
    CHECK(service.ask(bob, "GET /api/preview-status/shop/ann").status == 403);
    CHECK(service.ask(bob, "GET /terminal/shop/ann").status == 403);
    CHECK(service.ask(bob, "GET /api/events?project=shop&user=ann").status == 403);
    CHECK(service.ask(ann, "GET /api/servers/" + generation).status == 200);
    // One that has ended is its owner's business still.
    CHECK(service.ask(ann, "DELETE /api/servers/" + generation).status == 204);
    CHECK(service.ask(ann, "GET /api/servers/" + generation).status == 410);
    CHECK(service.ask(bob, "GET /api/servers/" + generation).status == 404);
  }
  SECTION("of previews") {
    CHECK(service.ask(bob + "Host: " + host + "\r\n", "GET /").status == 403);
    CHECK(service.ask(bob + "Host: " + host + "\r\n", "GET /.previewd/status").status == 403);
    CHECK(service.ask(ann + "Host: " + host + "\r\n", "GET /").status == 200);
    CHECK(service.ask(viewer + "Host: " + host + "\r\n", "GET /").status == 200);
    CHECK(service.ask(as("shop", "*", "view") + "Host: " + host + "\r\n", "GET /").status == 200);
  }
  SECTION("and what is of all of them takes a token for all") {
    for (const char* target : {"GET /metrics", "GET /debug/state"}) {
      INFO(target);
      CHECK(service.ask(ann, target).status == 403);
      CHECK(service.ask(as("shop", "*", "edit"), target).status == 403);
      CHECK(service.ask(operators, target).status == 200);
    }
  }
}

TEST_CASE("who may view looks on and changes nothing", "[system][auth][I6]") {
  const guarded_service service;
  const noting_server dev;
  register_for_ann(service, dev);
  const std::string id = service.open_terminal(ann, "ann");
  const std::string generation = std::to_string(
    service.list(viewer, "GET /api/servers")["servers"][0]["generation"].get<uint64_t>());

  for (const std::string& target :
    {std::string{"POST /api/terminals"}, "POST /api/terminals/" + id + "/input",
      "POST /api/terminals/" + id + "/resize", "POST /api/terminals/" + id + "/signal",
      "DELETE /api/terminals/" + id, std::string{"POST /api/servers"},
      "PATCH /api/servers/" + generation, "DELETE /api/servers/" + generation}) {
    INFO(target);
    const http_answer answer = service.ask(viewer, target, {{"project", "shop"}, {"user", "ann"}});
    CHECK(answer.status == 403);
    CHECK(json::parse(answer.body)["code"] == "not_allowed");
  }
  CHECK(service.ask(viewer, "GET /api/terminals/" + id + "/output?after=0").status == 200);
  CHECK(service.ask(viewer, "GET /api/preview-status/shop/ann").status == 200);

  // What he types into a terminal that he is attached to goes nowhere; what others do he sees.
  websocket_client attached{service.live->port(), "/api/terminals/" + id + "/attach", viewer};
  REQUIRE(attached.is_open());
  attached.binary("echo from-$((40+1))\r");
  websocket_client editor{service.live->port(), "/api/terminals/" + id + "/attach", ann};
  REQUIRE(editor.is_open());
  editor.binary("echo from-$((40+2))\r");
  const auto seen = attached.read_until("from-42");
  REQUIRE(seen);
  CHECK(seen->find("from-41") == std::string::npos);
  CHECK(seen->find("40+1") == std::string::npos);
}

TEST_CASE("Socket.IO clients show who they are when they connect", "[system][auth][I6]") {
  const guarded_service service;
  const uint16_t port = service.live->port();

  event_client nobody{port, nullptr};
  event_client liar{port, {{"token", "x.y.z"}}};
  event_client by_payload{port, token_of(ann)};
  event_client by_field{port, nullptr, ann};
  event_client wrong_field{port, nullptr, bearer("x.y.z")};

  CHECK(nobody.connected.rfind("44", 0) == 0);
  CHECK(nobody.connected.find("not_authenticated") != std::string::npos);
  CHECK(liar.connected.rfind("44", 0) == 0);
  CHECK(by_payload.connected.rfind("40{", 0) == 0);
  CHECK(by_field.connected.rfind("40{", 0) == 0);
  CHECK_FALSE(wrong_field.socket().is_open());
}

TEST_CASE("a Socket.IO client gets its own workspace and no other", "[system][auth][I6]") {
  const guarded_service service;
  const uint16_t port = service.live->port();
  const std::string anns = service.open_terminal(ann, "ann");
  event_client client{port, token_of(bob)};

  const json joined = client.ask("joinProject", {{"projectId", "shop"}});
  CHECK(joined["ok"] == true);
  CHECK(joined["terminals"].empty());
  CHECK(client.ask("joinProject", {{"projectId", "other"}})["error"]["code"] == "not_allowed");
  for (const char* event : {"attachTerminal", "closeTerminal"}) {
    INFO(event);
    CHECK(client.ask(event, {{"terminalId", anns}})["error"]["code"] == "terminal_not_found");
  }
  CHECK(client.ask("terminalInput", {{"terminalId", anns}, {"data", "x"}})["error"]["code"] ==
        "terminal_not_found");
  CHECK(client.ask("createTerminal", {{"projectId", "shop"}, {"userId", "ann"}})["error"]["code"] ==
        "not_allowed");

  // Of events it hears its own. The other's comes first: what is heard shows what was not.
  const noting_server of_ann;
  const noting_server of_bob;
  const auto add = [&](const std::string& who, const char* user, uint16_t at) {
    return service
      .ask(who, "POST /api/servers", {{"project", "shop"}, {"user", user}, {"port", at}})
      .status;
  };
  CHECK(add(ann, "ann", of_ann.port()) == 201);
  CHECK(add(bob, "bob", of_bob.port()) == 201);
  const std::string event = client.next();
  CHECK(event.find("previewServerStarted") != std::string::npos);
  CHECK(event.find("\"user\":\"bob\"") != std::string::npos);
  CHECK(client.events.empty());
}

TEST_CASE("a Socket.IO client who may view changes nothing", "[system][auth][I6]") {
  const guarded_service service;
  const std::string id = service.open_terminal(ann, "ann");
  event_client client{service.live->port(), token_of(viewer)};

  CHECK(client.ask("attachTerminal", {{"terminalId", id}})["ok"] == true);
  const json argument{{"terminalId", id}, {"data", "x"}, {"cols", 90}, {"rows", 30},
    {"projectId", "shop"}, {"userId", "ann"}};
  for (const char* event : {"terminalInput", "resizeTerminal", "closeTerminal", "createTerminal"}) {
    INFO(event);
    CHECK(client.ask(event, argument)["error"]["code"] == "not_allowed");
  }
  CHECK(client.ask("terminalAck", {{"terminalId", id}, {"sequence", 0}})["ok"] == true);
}

TEST_CASE("no token and no session of ours reaches a dev server", "[system][auth][I6]") {
  const guarded_service service;
  noting_server dev;
  const std::string host = register_for_ann(service, dev);
  const std::string cookie = cookie_line(follow(service, hand_over(service, ann, {})));

  CHECK(service.ask(ann + "Host: " + host + "\r\n", "GET /a").status == 200);
  CHECK(dev.last().find("Authorization") == std::string::npos);
  CHECK(service.ask(browser_at(host, cookie), "GET /b").status == 200);
  CHECK(dev.last().find("previewd_session") == std::string::npos);
  CHECK(dev.last().find("theme=dark") != std::string::npos);
  // Neither does a token that comes beside a session.
  CHECK(service.ask(browser_at(host, cookie + viewer), "GET /c").status == 200);
  CHECK(dev.last().find("Bearer") == std::string::npos);
  // The app's own way to say who somebody is goes on to it.
  CHECK(service.ask(browser_at(host, cookie + "Authorization: Bearer of-the-app\r\n"), "GET /d")
          .status == 200);
  CHECK(dev.last().find("Authorization: Bearer of-the-app") != std::string::npos);
}

TEST_CASE("a browser is handed over to a preview, once", "[system][auth][I6]") {
  const guarded_service service;
  noting_server dev;
  const std::string host = register_for_ann(service, dev);
  const std::string url = hand_over(service, ann, {});
  REQUIRE(url.rfind("http://" + host + "/.previewd/enter?code=", 0) == 0);

  const http_answer first = follow(service, url);
  const http_answer again = follow(service, url);

  CHECK(first.status == 303);
  CHECK(field_of(first, "Location") == "/");
  CHECK(field_of(first, "Cache-Control") == "no-store");
  CHECK(field_of(first, "Referrer-Policy") == "no-referrer");
  const std::string set = field_of(first, "Set-Cookie");
  CHECK(set.rfind("previewd_session=", 0) == 0);
  CHECK(set.find("; Path=/; HttpOnly; Max-Age=") != std::string::npos);
  CHECK(set.find("; SameSite=Lax") != std::string::npos);
  CHECK(set.find("Domain") == std::string::npos);
  CHECK(again.status == 401);
  CHECK(field_of(again, "Set-Cookie").empty());
  const std::string cookie = cookie_line(first);
  CHECK(service.ask(browser_at(host, cookie), "GET /").status == 200);
  CHECK(service.ask("Host: " + host + "\r\n" + cookie, "GET /.previewd/status").status == 200);
}

TEST_CASE("a session on a preview is good there and nowhere else", "[system][auth][I6]") {
  const guarded_service service;
  noting_server dev;
  noting_server other;
  const std::string host = register_for_ann(service, dev);
  const http_answer added = service.ask(
    bob, "POST /api/servers", {{"project", "shop"}, {"user", "bob"}, {"port", other.port()}});
  REQUIRE(added.status == 201);
  const std::string bobs_url = json::parse(added.body).at("originUrl");
  const std::string bobs_host = bobs_url.substr(7, bobs_url.size() - 8);
  const std::string cookie = cookie_line(follow(service, hand_over(service, ann, {})));

  CHECK(service.ask(browser_at(bobs_host, cookie), "GET /").status == 403);
  CHECK(service.ask(cookie, "GET /api/terminals").status == 401);
  CHECK(service.ask(cookie, "GET /terminal/shop/ann").status == 401);
  event_client client{service.live->port(), nullptr, cookie};
  CHECK(client.connected.rfind("44", 0) == 0);
  // A link for one origin does not open another.
  const std::string url = hand_over(service, ann, {});
  const auto code = url.substr(url.find("/.previewd"));
  CHECK(fetch(service.live->port(), "GET " + code, browser_at(bobs_host)).status == 401);
  CHECK(service.ask({}, "GET /enter" + url.substr(url.find('?'))).status == 401);
}

TEST_CASE("a browser is handed over to a terminal page", "[system][auth][I6]") {
  const guarded_service service;
  const http_answer answer = follow(service, hand_over(service, ann, {{"page", "terminal"}}));
  REQUIRE(answer.status == 303);
  CHECK(field_of(answer, "Location") == "/terminal/shop/ann");
  const std::string cookie = cookie_line(answer);

  CHECK(service.ask(cookie, "GET /api/terminals").status == 200);
  CHECK(service.ask(cookie, "GET /api/preview-status/shop/ann").status == 200);
  CHECK(service.ask(cookie, "GET /api/preview-status/shop/bob").status == 403);
  event_client client{service.live->port(), nullptr, cookie};
  CHECK(client.connected.rfind("40{", 0) == 0);
  // A page elsewhere that the browser shows gets nowhere with it.
  CHECK(service
          .ask(cookie + "Origin: http://evil.example\r\n", "POST /api/terminals",
            {{"project", "shop"}, {"user", "ann"}})
          .status == 403);
  // Another host of the domain may have set a second one: which is which is not to be known.
  const std::string second =
    cookie_line(follow(service, hand_over(service, viewer, {{"page", "terminal"}})));
  const std::string both = cookie.substr(0, cookie.size() - 2) + ";" + second.substr(7);
  CHECK(service.ask(both, "GET /api/terminals").status == 401);
}

TEST_CASE("what is handed over is no more than what one has", "[system][auth][I6]") {
  const guarded_service service;
  const auto wanted = [&](const std::string& who, json body) {
    body["page"] = "terminal";
    return service.ask(who, "POST /api/hand-overs", body).status;
  };

  CHECK(wanted(bob, {{"project", "shop"}, {"user", "ann"}}) == 403);
  CHECK(wanted(viewer, {{"project", "shop"}, {"user", "ann"}, {"role", "edit"}}) == 403);
  CHECK(wanted(ann, {{"project", "shop"}, {"user", "ann"}, {"role", "root"}}) == 400);
  CHECK(wanted(ann, {{"project", "shop"}}) == 400);
  const std::string narrowed =
    cookie_line(follow(service, hand_over(service, ann, {{"page", "terminal"}, {"role", "view"}})));
  CHECK(
    service.ask(narrowed, "POST /api/terminals", {{"project", "shop"}, {"user", "ann"}}).status ==
    403);
  // The operator's session is for the workspace that was named.
  const std::string operators_cookie =
    cookie_line(follow(service, hand_over(service, operators, {{"page", "terminal"}})));
  CHECK(service.ask(operators_cookie, "GET /metrics").status == 403);
}

TEST_CASE("a frame of another site gets a cookie of its own", "[system][auth]") {
  const guarded_service service;
  noting_server dev;
  register_for_ann(service, dev);

  const http_answer framed = follow(service, hand_over(service, ann, {}),
    "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: iframe\r\n");

  CHECK(field_of(framed, "Set-Cookie").find("; Secure; SameSite=None; Partitioned") !=
        std::string::npos);
}

TEST_CASE("by https no other host can take a session's place", "[system][auth][I6]") {
  const guarded_service service{[](settings& wanted) { wanted.proxy.trusted = {"127.0.0.1"}; }};
  noting_server dev;
  const std::string host = register_for_ann(service, dev);
  const std::string planted = cookie_line(follow(service, hand_over(service, viewer, {})));

  const http_answer secure =
    follow(service, hand_over(service, ann, {}), "X-Forwarded-Proto: https\r\n");

  const std::string set = field_of(secure, "Set-Cookie");
  CHECK(set.rfind("__Host-previewd_session=", 0) == 0);
  CHECK(set.find("; Path=/; HttpOnly") != std::string::npos);
  CHECK(set.find("; Secure") != std::string::npos);
  const std::string both =
    planted.substr(0, planted.size() - 2) + "; " + set.substr(0, set.find(';')) + "\r\n";
  CHECK(service.ask(browser_at(host, both), "GET /").status == 200);
  CHECK(dev.last().find("previewd_session") == std::string::npos);
  CHECK(dev.last().find("theme=dark") != std::string::npos);
}

TEST_CASE(
  "behind a proxy every address is one that browsers can reach", "[system][auth][addresses][I6]") {
  const guarded_service service{[](settings& wanted) {
    wanted.preview.domain = "preview.example.com";
    wanted.public_names.hosts = {"ide.example.com"};
    wanted.public_names.address = public_address{url_scheme::https, 8443};
  }};
  const noting_server dev;
  const std::string host = "shop--ann.preview.example.com:8443";
  const std::string ide = ann + "Host: ide.example.com\r\n";

  const http_answer added = service.ask(
    ide, "POST /api/servers", {{"project", "shop"}, {"user", "ann"}, {"port", dev.port()}});
  REQUIRE(added.status == 201);
  CHECK(json::parse(added.body).at("originUrl").get<std::string>() == "https://" + host + "/");
  const std::string preview = hand_over(service, ann, {});
  CHECK(preview.rfind("https://" + host + "/.previewd/enter?code=", 0) == 0);
  const std::string terminal = hand_over(service, ide, {{"page", "terminal"}});
  CHECK(terminal.rfind("https://ide.example.com:8443/enter?code=", 0) == 0);

  // The proxy says nothing of its scheme, and is not trusted.
  const http_answer entered =
    service.ask(browser_at(host), "GET " + preview.substr(preview.find("/.previewd/")));
  CHECK(entered.status == 303);
  CHECK(field_of(entered, "Set-Cookie").rfind("__Host-previewd_session=", 0) == 0);
  CHECK(
    service.ask(ide + "Origin: https://ide.example.com:8443\r\n", "GET /api/terminals").status ==
    200);
  CHECK(
    service.ask(ide + "Origin: http://ide.example.com\r\n", "GET /api/terminals").status == 403);
  const http_answer opened = service.ask(ann, "POST /api/terminals",
    {{"project", "shop"}, {"user", "ann"},
      {"command", {"/bin/sh", "-c", "echo origin=$PREVIEWD_ORIGIN; exec sleep 1000"}}});
  REQUIRE(opened.status == 201);
  const std::string id = json::parse(opened.body).at("id");
  CHECK(eventually([&] {
    return service.ask(ann, "GET /api/terminals/" + id + "/output")
             .body.find("origin=https://" + host + "\r\n") != std::string::npos;
  }));
}

TEST_CASE("keys that are read again end what others vouched for", "[system][auth][I6]") {
  guarded_service service;
  const std::string cookie =
    cookie_line(follow(service, hand_over(service, ann, {{"page", "terminal"}})));
  const std::string next = "the next secret of the tests, long enough as well";
  const std::string anew = bearer(hs256_token(next, claims_of("*", "*", "edit")));
  REQUIRE(service.ask(cookie, "GET /api/terminals").status == 200);
  REQUIRE(service.ask(anew, "GET /api/terminals").status == 401);

  SECTION("good ones") {
    service.keys.write(next);
    service.live->get().reload_keys();

    CHECK(service.ask(anew, "GET /api/terminals").status == 200);
    CHECK(service.ask(ann, "GET /api/terminals").status == 401);
    CHECK(service.ask(cookie, "GET /api/terminals").status == 401);
    service.keys.write(secret);
    service.live->get().reload_keys();
  }
  SECTION("also what is open") {
    const uint16_t port = service.live->port();
    const std::string id = service.open_terminal(ann, "ann");
    websocket_client attached{port, "/api/terminals/" + id + "/attach", cookie};
    event_client client{port, token_of(ann)};
    raw_peer reader = raw_peer::connect(port);
    reader.send("GET /api/events?project=shop&user=ann HTTP/1.1\r\nHost: localhost:" +
                std::to_string(port) + "\r\n" + ann + "\r\n");
    REQUIRE(attached.is_open());
    REQUIRE(client.ask("attachTerminal", {{"terminalId", id}})["ok"] == true);
    REQUIRE(reader.read_head().find(" 200 ") != std::string::npos);

    service.keys.write(next);
    service.live->get().reload_keys();

    CHECK(attached.close_code() == 4003);
    CHECK(client.socket().close_code() == 1000);
    CHECK(reader.read_until("\r\n0\r\n\r\n").find("\r\n0\r\n\r\n") != std::string::npos);
    service.keys.write(secret);
    service.live->get().reload_keys();
  }
  SECTION("but not bad ones") {
    service.keys.write("short");
    service.live->get().reload_keys();

    CHECK(service.ask(anew, "GET /api/terminals").status == 401);
    CHECK(service.ask(ann, "GET /api/terminals").status == 200);
    CHECK(service.ask(cookie, "GET /api/terminals").status == 200);
  }
}

TEST_CASE("who shows wrong tokens again and again is not listened to", "[system][auth][I5]") {
  const guarded_service service{[](settings& wanted) { wanted.auth.attempts = 3; }};
  const std::string wrong = bearer(hs256_token(secret + "!", claims_of("*", "*", "edit")));

  // A minute may begin meanwhile, with three more.
  int refused = 0;
  http_answer last;
  for (int i = 0; i < 7 && last.status != 429; ++i) {
    last = service.ask(wrong, "GET /api/terminals");
    refused += last.status == 401 ? 1 : 0;
  }

  CHECK(refused >= 3);
  CHECK(last.status == 429);
  CHECK(field_of(last, "Retry-After") == "60");
  CHECK(last.body.find("limit_reached") != std::string::npos);
  // For the rest of the minute it would not say what it holds either.
  service.live->get().stop();
}

TEST_CASE("no application that embeds the service opens a shell to whoever comes",
  "[system][auth][run_as][I6]") {
  caf::actor_system_config config;
  config.add_message_types<caf::id_block::previewd>();
  caf::actor_system system{config};
  settings wanted;
  const auto why_not = [&] {
    const auto started = service::start(system, wanted, process_role::embedded);
    const auto* why = std::get_if<std::string>(&started);
    return why == nullptr ? std::string{} : *why;
  };

  for (const char* address : {"0.0.0.0", "::"}) {
    wanted.listen = {
      {.address = "127.0.0.1", .port = 0, .path = {}}, {.address = address, .port = 0, .path = {}}};
    CHECK_THAT(why_not(), Catch::StartsWith("cannot start: listen: ") &&
                            Catch::Contains(" can be reached from other machines"));
  }
  // A socket that listens already is where it says that it is.
  wanted.listen = {{.address = "0.0.0.0", .port = 4000, .path = {}, .descriptor = 0}};
  CHECK_THAT(why_not(), Catch::Contains(" can be reached from other machines"));

  wanted.listen = {{.address = "127.0.0.1", .port = 0, .path = {}}};
  wanted.terminal.run_as = "{user}";
  CHECK_THAT(why_not(), Catch::StartsWith("cannot start: terminal.run_as: "));
}

TEST_CASE("without auth.mode nothing is asked and nothing is handed over", "[system][auth]") {
  const live_service live;

  CHECK(fetch(live.port(), "GET /api/terminals").status == 200);
  CHECK(fetch(live.port(), "GET /api/terminals", bearer("x.y.z")).status == 200);
  CHECK(fetch(live.port(), "POST /api/hand-overs", {}, "{}").status == 404);
  CHECK(fetch(live.port(), "GET /enter?code=x").status == 404);
  CHECK(fetch(live.port(), "GET /preview/shop/ann/.previewd/enter").status == 404);
}

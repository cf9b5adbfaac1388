#include <catch2/catch.hpp>

#include "previewd/actors/server_table.hpp"
#include "previewd/messages/detector.hpp"

using namespace previewd;
using namespace previewd::actors;

namespace {

server_description server_of(workspace_key key, uint16_t port, uint64_t inode) {
  server_description what;
  what.key = std::move(key);
  what.upstream = {"127.0.0.1", port, scheme::http};
  what.listeners = {{inode, port, false}};
  return what;
}

}  // namespace

TEST_CASE("labels of two workspaces never meet", "[actors][server_table]") {
  server_table table{1};

  const std::string first = table.know({"Shop", "ann"});
  const std::string second = table.know({"shop", "Ann"});

  CHECK(first == "shop--ann");
  CHECK(second != first);
  CHECK(second.size() <= 63);
  CHECK(table.know({"Shop", "ann"}) == first);
}

TEST_CASE(
  "a label is the plain one where no other address could be meant", "[actors][server_table]") {
  server_table table{1};
  const auto [project, user, plain] =
    GENERATE(Catch::Generators::table<std::string, std::string, bool>({
      {"shop", "ann", true},
      {"42", "7", true},
      {"42", "peter", true},
      // Would be the address of port 42 of who has the label p-7-...
      {"42", "p-7-0123456789abc", false},
      {"xn", "ann", false},
      {"a--b", "ann", false},
      {"a_b", "ann", false},
      {std::string(28, 'a'), std::string(26, 'b'), true},
      // No room for the port of a further server.
      {std::string(29, 'a'), std::string(26, 'b'), false},
    }));

  const std::string label = table.know({project, user});

  CHECK((label == project + "--" + user) == plain);
  CHECK(label.size() <= 63);
}

TEST_CASE(
  "revisions grow over all workspaces, and generations for ever", "[actors][server_table]") {
  server_table table{41};
  const server_ref first = table.add(server_of({"a", "b"}, 1, 1), 0, {}).info.ref;
  const auto revision = table.next_routes({"a", "b"}).revision;
  table.take(first);

  const server_ref second = table.add(server_of({"a", "b"}, 1, 2), 0, {}).info.ref;

  CHECK(first.generation == 41);
  CHECK(second.generation == 42);
  CHECK(table.next_routes({"c", "d"}).revision > revision);
  CHECK(table.find(first) == nullptr);
  CHECK(table.find(server_ref{{"c", "d"}, 42}) == nullptr);
}

TEST_CASE("what is remembered of stopped servers has a limit", "[actors][server_table][I5]") {
  server_table table{1, 4};
  for (int i = 0; i < 100; ++i) {
    const workspace_key key{"p" + std::to_string(i), "u"};
    const server_ref ref = table.add(server_of(key, 80, static_cast<uint64_t>(i)), 0, {}).info.ref;
    table.take(ref);
    stop_record record;
    record.ref = ref;
    table.remember(record);
  }

  CHECK(table.record_of(100) != nullptr);
  CHECK(table.record_of(90) == nullptr);
  CHECK(table.last_stop({"p99", "u"}) != nullptr);
  CHECK(table.last_stop({"p1", "u"}) == nullptr);
}

TEST_CASE("a workspace is remembered as long as it is used, however often its server ended",
  "[actors][server_table]") {
  server_table table{1, 4};
  const workspace_key key{"shop", "ann"};
  for (uint64_t i = 0; i < 20; ++i) {
    stop_record record;
    record.ref = table.add(server_of(key, 80, i), 0, {}).info.ref;
    table.take(record.ref);
    table.remember(record);
    REQUIRE(table.last_stop(key) != nullptr);
  }

  CHECK(table.last_stop(key)->ref.generation == 20);
}

TEST_CASE("what speaks WebSocket only is the primary of nothing, unless by hand",
  "[actors][server_table][primary]") {
  const workspace_key key{"shop", "ann"};
  server_table table{1};
  server_description sockets = server_of(key, 24678, 1);
  sockets.type = std::string{websockets_only};
  sockets.answers = sockets.printed = true;
  table.add(sockets, 0, {});

  CHECK(table.choose_primary(key) == nullptr);
  server_description page = server_of(key, 5173, 2);
  page.answers = page.serves_page = true;
  table.add(page, 0, {});
  const server_entry* chosen = table.choose_primary(key);
  REQUIRE(chosen != nullptr);
  CHECK(chosen->info.upstream.port == 5173);

  table.prefer(*table.find(1));
  const server_entry* by_hand = table.choose_primary(key);
  REQUIRE(by_hand != nullptr);
  CHECK(by_hand->info.upstream.port == 24678);
}

TEST_CASE("a port that was preferred by hand is preferred again when it comes back",
  "[actors][server_table][primary]") {
  const workspace_key key{"shop", "ann"};
  server_table table{1};
  for (const uint16_t port : {uint16_t{3000}, uint16_t{4000}}) {
    server_description page = server_of(key, port, port);
    page.answers = page.serves_page = true;
    table.add(page, 0, {});
    table.choose_primary(key);
  }
  table.prefer(*table.find(2));
  table.choose_primary(key);
  table.take({key, 2});
  REQUIRE(table.choose_primary(key)->info.upstream.port == 3000);

  server_description again = server_of(key, 4000, 77);
  again.answers = again.serves_page = true;
  table.add(again, 0, {});

  const server_entry* chosen = table.choose_primary(key);
  REQUIRE(chosen != nullptr);
  CHECK(chosen->info.upstream.port == 4000);
}

TEST_CASE("who sees a server is remembered by its port, and goes along when it moves",
  "[actors][server_table][share][I6]") {
  const workspace_key key{"shop", "ann"};
  server_table table{1, 1024, preview_access::members};
  server_entry& first = table.add(server_of(key, 3000, 1), 0, {});
  CHECK(first.info.access == preview_access::members);
  table.share(first, preview_access::everyone);
  CHECK(table.next_routes(key).routes.front().access == preview_access::everyone);

  SECTION("the same port") {
    table.take(first.info.ref);
    CHECK(table.add(server_of(key, 3000, 2), 0, {}).info.access == preview_access::everyone);
    CHECK(table.add(server_of(key, 3001, 3), 0, {}).info.access == preview_access::members);
    CHECK(
      table.add(server_of({"shop", "bob"}, 3000, 4), 0, {}).info.access == preview_access::members);
  }
  SECTION("another port") {
    server_entry& next = table.add(server_of(key, 3001, 2), first.info.ref.generation, {});
    table.keep_access(next, preview_access::everyone);
    CHECK(next.info.access == preview_access::everyone);
  }
  SECTION("another port of which less was said") {
    server_entry& other = table.add(server_of(key, 3001, 2), 0, {});
    table.share(other, preview_access::members);
    table.take(other.info.ref);
    server_entry& next = table.add(server_of(key, 3001, 3), first.info.ref.generation, {});
    table.keep_access(next, preview_access::everyone);
    CHECK(next.info.access == preview_access::members);
  }
  SECTION("of so many ports") {
    for (uint16_t port = 4000; port < 4200; ++port) {
      server_entry& one = table.add(server_of(key, port, port), 0, {});
      table.share(one, preview_access::everyone);
      table.take(one.info.ref);
    }
    CHECK(table.add(server_of(key, 4000, 9000), 0, {}).info.access == preview_access::members);
    CHECK(table.add(server_of(key, 4199, 9001), 0, {}).info.access == preview_access::everyone);
  }
}

// Whose the file of a store is.
#include "previewd/store/file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "previewd/tests/support/temporary_folder.hpp"

using namespace previewd::store;
using previewd::test::temporary_folder;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat facts {};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  return facts.st_mode & 07777U;
}

std::string refusal(const std::string& path) {
  const auto taken = take_file(path);
  const auto* why = std::get_if<std::string>(&taken);
  return why == nullptr ? std::string{} : *why;
}

}  // namespace

TEST_CASE("a store and its folder are its user's alone", "[store][file][I6]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state/previewd/state.db";

  const auto taken = take_file(path);

  REQUIRE(std::holds_alternative<taken_file>(taken));
  CHECK(std::get<0>(taken).path == path);
  CHECK(mode_of(path) == 0600);
  CHECK(mode_of(path + ".lock") == 0600);
  CHECK(mode_of(folder.path() + "/state") == 0700);
  CHECK(mode_of(folder.path() + "/state/previewd") == 0700);
}

TEST_CASE("a store that others could read is shut", "[store][file][I6]") {
  temporary_folder folder;
  const std::string path = folder.write("state.db", "", 0644);

  CHECK(refusal(path).empty());

  CHECK(mode_of(path) == 0600);
}

TEST_CASE("a store is one process' until that lets go of it", "[store][file]") {
  const temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  {
    const auto first = take_file(path);
    REQUIRE(std::holds_alternative<taken_file>(first));

    CHECK_THAT(refusal(path),
      Catch::StartsWith("is in use by another previewd (pid " + std::to_string(::getpid()) + ")"));
  }
  CHECK(refusal(path).empty());
}

TEST_CASE("what is no file of ours is refused", "[store][file][I6][I7]") {
  temporary_folder folder;
  const std::string path = folder.path() + "/state.db";
  SECTION("a folder") {
    std::filesystem::create_directory(path);
    CHECK_THAT(refusal(path), Catch::StartsWith("cannot be written: "));
  }
  SECTION("a pipe") {
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    CHECK(refusal(path) == "is not a file");
  }
  SECTION("below a file") {
    folder.write("file", "");
    CHECK_THAT(
      refusal(folder.path() + "/file/state.db"), Catch::StartsWith("cannot be made: its folder: "));
  }
  SECTION("where nobody can write") {
    CHECK_THAT(refusal("/proc/previewd/state.db"), Catch::StartsWith("cannot be made: "));
    CHECK_THAT(refusal("/proc/self/state.db"), Catch::StartsWith("cannot be locked: "));
  }
  SECTION("a link that leads nowhere") {
    std::filesystem::create_symlink(folder.path() + "/nothing", path);
    CHECK_THAT(refusal(path), Catch::StartsWith("is a symbolic link that leads nowhere"));
  }
  SECTION("where everybody can write") {
    ::chmod(folder.path().c_str(), 01777);
    CHECK_THAT(refusal(path), Catch::StartsWith("is in a folder that other users can write to"));
    CHECK_FALSE(std::filesystem::exists(path + ".lock"));
  }
  SECTION("a lock that is a link") {
    const std::string victim = folder.write("victim", "content");
    std::filesystem::create_symlink(victim, path + ".lock");
    CHECK_THAT(refusal(path), Catch::StartsWith("cannot be locked: "));
    CHECK(std::filesystem::file_size(victim) == 7);
  }
  SECTION("no absolute path") {
    CHECK_FALSE(refusal("state.db").empty());
    CHECK_FALSE(refusal("/tmp/").empty());
  }
}

TEST_CASE(
  "what is another user's is refused, and a link of one's own is followed", "[store][file][I6]") {
  temporary_folder folder;
  const std::string real = folder.write("real/state.db", "", 0600);
  const std::string path = folder.path() + "/state.db";
  constexpr uid_t nobody = 65534;

  std::filesystem::create_symlink(real, path);
  {
    const auto taken = take_file(path);
    REQUIRE(std::holds_alternative<taken_file>(taken));
    CHECK(std::get<0>(taken).path == real);
    // By whichever name, it is one store.
    CHECK_THAT(refusal(real), Catch::StartsWith("is in use by another previewd"));
  }

  if (::geteuid() != 0) {
    WARN("only root can make files of other users");
    return;
  }
  REQUIRE(::lchown(path.c_str(), nobody, nobody) == 0);
  CHECK(refusal(path) == "is a symbolic link of another user");
  REQUIRE(::chown(real.c_str(), nobody, nobody) == 0);
  CHECK(refusal(real) == "belongs to another user");
  REQUIRE(::chown(real.c_str(), 0, 0) == 0);
  REQUIRE(::chown((real + ".lock").c_str(), nobody, nobody) == 0);
  CHECK(refusal(real) == "cannot be locked: its file .lock belongs to another user");
}

TEST_CASE("what is moved aside keeps what SQLite has put beside it", "[store][file]") {
  temporary_folder folder;
  const std::string path = folder.write("state.db", "not a database");
  folder.write("state.db-wal", "its log");
  const auto taken = take_file(path);
  REQUIRE(std::holds_alternative<taken_file>(taken));

  const auto first = move_aside(std::get<0>(taken));
  REQUIRE(std::holds_alternative<moved_aside>(first));
  CHECK_FALSE(make_file(std::get<0>(taken)));
  const auto second = move_aside(std::get<0>(taken));
  REQUIRE(std::holds_alternative<moved_aside>(second));

  const std::string& to = std::get<0>(first).path;
  CHECK_THAT(to, Catch::StartsWith(path + ".damaged-"));
  CHECK(std::filesystem::file_size(to) == 14);
  CHECK(std::filesystem::file_size(to + "-wal") == 7);
  CHECK(std::get<0>(second).path != to);
  CHECK_FALSE(std::filesystem::exists(path));
}

#include "previewd/os/service_manager.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <string>

#include "previewd/tests/support/notify_socket.hpp"
#include "previewd/tests/support/resource_check.hpp"
#include "previewd/tests/support/temporary_folder.hpp"

using namespace previewd;

TEST_CASE("a service manager hears each message whole, by path or by name", "[os][manager]") {
  const test::temporary_folder folder;
  const bool by_path = GENERATE(true, false);
  const std::string name = by_path ? folder.path() + "/notify" : "@" + folder.path();
  const test::notify_socket manager{name};
  const test::resource_check resources;

  CHECK_FALSE(os::service_manager{name}.tell("READY=1\nSTATUS=Listening"));
  CHECK_FALSE(os::service_manager{name}.tell("STOPPING=1"));

  CHECK(manager.receive() == "READY=1\nSTATUS=Listening");
  CHECK(manager.receive() == "STOPPING=1");
  CHECK(resources.difference() == "");
}

TEST_CASE("a service manager that cannot be told is an error and no more", "[os][manager][I7]") {
  const test::temporary_folder folder;
  { const test::notify_socket gone{folder.path() + "/gone"}; }
  const std::string long_path = "/" + std::string(200, 'x');

  CHECK_FALSE(os::service_manager{}.tell("READY=1"));
  CHECK(os::service_manager{"notify"}.tell("READY=1").value() == EINVAL);
  CHECK(os::service_manager{"vsock:2:1"}.tell("READY=1").value() == EINVAL);
  CHECK(os::service_manager{long_path}.tell("READY=1").value() == EINVAL);
  CHECK(os::service_manager{folder.path() + "/none"}.tell("READY=1").value() == ENOENT);
  CHECK(os::service_manager{folder.path() + "/gone"}.tell("READY=1").value() == ECONNREFUSED);
  CHECK(os::service_manager{"@" + folder.path()}.tell("READY=1").value() == ECONNREFUSED);
}

#include <unistd.h>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <csignal>
#include <cstdio>
#include <iostream>

#include "previewd/actors/batch_threads.hpp"
#include "previewd/messages/all.hpp"
#include "previewd/os/descriptor_limit.hpp"
#include "previewd/service/serve.hpp"
#include "previewd/service/service.hpp"
#include "previewd/service/settings_load.hpp"
#include "previewd/support/log.hpp"

int main(int argc, char** argv) {
  auto loaded = previewd::load_settings(argc, argv, environ);
  if (const auto* early = std::get_if<previewd::early_exit>(&loaded)) {
    std::cout << early->out;
    std::cerr << early->err;
    return early->code;
  }
  const auto& settings = std::get<previewd::settings>(loaded);
  previewd::log::configure(settings.log);
  // Every terminal and every client is a descriptor or two: take all that we may have. A client of
  // a preview has two, its own and the one of its server; one that is encrypted has two more.
  const uint64_t descriptors = previewd::os::raise_descriptor_limit();
  const uint64_t a_client = settings.tls.certificate_file.empty() ? 2 : 4;
  if (descriptors < a_client * settings.limits.connections + 256)
    previewd::log::warn("few_descriptors",
      "limits.connections is more than the limit of open descriptors (RLIMIT_NOFILE) allows; some "
      "clients will be answered 503",
      {{"connections", settings.limits.connections}, {"descriptors", descriptors}});
  std::signal(SIGPIPE, SIG_IGN);
  // A file that may not grow any more is an error like a full disk (RLIMIT_FSIZE, setrlimit(2)).
  std::signal(SIGXFSZ, SIG_IGN);
  // Blocked before any thread starts, so that they come to `serve` and nowhere else.
  const sigset_t signals = previewd::served_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  caf::actor_system_config config;
  config.add_message_types<caf::id_block::previewd>();
  // Measured best for few, short messages, and idle without polling.
  config.set("scheduler.policy", caf::atom("sharing"));
  config.set("scheduler.max-threads", std::size_t{settings.actors.threads});
  config.add_thread_hook<previewd::actors::batch_threads>();
  caf::actor_system system{config};
  auto started = previewd::service::start(system, settings, previewd::process_role::program);
  if (const auto* why = std::get_if<std::string>(&started)) {
    std::cerr << "previewd: " << *why << "\n";
    return 1;
  }
  auto& service = *std::get<0>(started);
  for (const std::string& address : service.addresses())
    std::cout << "previewd listening on " << address << std::endl;
  previewd::serve(
    service, settings, [argc, argv] { return previewd::load_settings(argc, argv, environ); });
}

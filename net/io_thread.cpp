#include "previewd/net/io_thread.hpp"

#include <pthread.h>

#include <csignal>

namespace previewd::net {

io_thread::io_thread(uint32_t index) : index_{index} {}

io_thread::~io_thread() {
  stop();
}

void io_thread::start(const char* name) {
  // A new thread inherits the mask: signals are for the main thread, which waits for them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread{[this] { context_.run(); }};
  pthread_setname_np(thread_.native_handle(), name);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void io_thread::stop() {
  work_.reset();
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace previewd::net

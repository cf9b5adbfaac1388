#include "previewd/os/child_process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string_view>

#include "previewd/os/descriptor_limit.hpp"
#include "previewd/os/system_call.hpp"
#include "previewd/os/unique_fd.hpp"

namespace previewd::os {

namespace {

const call_site look_at_program{"process.find", {ENOMEM, EACCES}};
const call_site look_at_directory{"process.directory", {ENOMEM, EACCES}};
const call_site spawn_process{"process.spawn", {EAGAIN, ENOMEM}};
const call_site open_report{"process.report", {EMFILE, ENFILE}};
const call_site fork_process{"process.fork", {EAGAIN, ENOMEM}};

/// Where execvp(3) looks when there is no PATH.
constexpr std::string_view default_path = "/usr/local/bin:/bin:/usr/bin";

class spawn_actions {
public:
  spawn_actions() noexcept : failure_{::posix_spawn_file_actions_init(&actions_)} {}
  ~spawn_actions() { ::posix_spawn_file_actions_destroy(&actions_); }
  spawn_actions(const spawn_actions&) = delete;
  spawn_actions& operator=(const spawn_actions&) = delete;

  template <class Action, class... Args> void add(Action action, Args... args) noexcept {
    if (failure_ == 0) failure_ = action(&actions_, args...);
  }
  int failure() const noexcept { return failure_; }
  const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

private:
  posix_spawn_file_actions_t actions_{};
  int failure_;
};

class spawn_attributes {
public:
  spawn_attributes() noexcept : failure_{::posix_spawnattr_init(&attributes_)} {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    set(::posix_spawnattr_setsigmask, &none);
    set(::posix_spawnattr_setsigdefault, &all);
    constexpr int flags = POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    set(::posix_spawnattr_setflags, static_cast<short>(flags));
  }
  ~spawn_attributes() { ::posix_spawnattr_destroy(&attributes_); }
  spawn_attributes(const spawn_attributes&) = delete;
  spawn_attributes& operator=(const spawn_attributes&) = delete;

  int failure() const noexcept { return failure_; }
  const posix_spawnattr_t* get() const noexcept { return &attributes_; }

private:
  template <class Setter, class Value> void set(Setter setter, Value value) noexcept {
    if (failure_ == 0) failure_ = setter(&attributes_, value);
  }

  posix_spawnattr_t attributes_{};
  int failure_;
};

/// posix_spawn(3) wants pointers to mutable strings, and changes none.
std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (const std::string& text : strings) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

std::string_view path_of(const std::vector<std::string>& environment) {
  for (const std::string_view variable : environment) {
    if (variable.starts_with("PATH=")) return variable.substr(5);
  }
  return default_path;
}

error_code check_program(const std::string& path) {
  struct stat status {};
  if (system_call(look_at_program, [&] { return ::stat(path.c_str(), &status); }) == -1)
    return last_error();
  if (S_ISDIR(status.st_mode)) return system_error(EACCES);
  if (system_call(look_at_program, [&] { return ::access(path.c_str(), X_OK); }) == -1)
    return last_error();
  return {};
}

error_code check_directory(const std::string& path) {
  struct stat status {};
  if (system_call(look_at_directory, [&] { return ::stat(path.c_str(), &status); }) == -1)
    return last_error();
  if (!S_ISDIR(status.st_mode)) return system_error(ENOTDIR);
  if (system_call(look_at_directory, [&] { return ::access(path.c_str(), X_OK); }) == -1)
    return last_error();
  return {};
}

/// What is loaded into a new process, ready for system calls.
struct program_image {
  const char* path;
  char* const* arguments;
  char* const* environment;
  const char* terminal;
};

/// What kept a child from loading its program.
struct child_failure {
  start_step step;
  int error;
};

error_code spawn(const process_spec& spec, const program_image& image, pid_t& pid) {
  spawn_actions actions;
  // In a session without a terminal, the first one that its leader opens becomes the controlling
  // one (tty(4)).
  actions.add(::posix_spawn_file_actions_addopen, 0, image.terminal, O_RDWR, mode_t{0});
  actions.add(::posix_spawn_file_actions_adddup2, 0, 1);
  actions.add(::posix_spawn_file_actions_adddup2, 0, 2);
  actions.add(::posix_spawn_file_actions_addclosefrom_np, 3);
  if (!spec.cwd.empty()) actions.add(::posix_spawn_file_actions_addchdir_np, spec.cwd.c_str());
  const spawn_attributes attributes;
  if (actions.failure() != 0) return system_error(actions.failure());
  if (attributes.failure() != 0) return system_error(attributes.failure());
  if (system_call(spawn_process, [&] {
        errno = ::posix_spawn(
          &pid, image.path, actions.get(), attributes.get(), image.arguments, image.environment);
        return errno == 0 ? 0 : -1;
      }) == -1)
    return last_error();
  return {};
}

/// In the child: gives up this process' rights. The system calls themselves, since glibc's wrappers
/// do it for threads that are not there (nptl(7)).
int change_identity(const process_identity& wanted) noexcept {
  // First what needs the rights that go last.
  if (::syscall(SYS_setgroups, wanted.groups.size(), wanted.groups.data()) == -1) return errno;
  if (::syscall(SYS_setresgid, wanted.group, wanted.group, wanted.group) == -1) return errno;
  if (::syscall(SYS_setresuid, wanted.user, wanted.user, wanted.user) == -1) return errno;
  return 0;
}

/// In the child of a process that may have threads: only what signal-safety(7) allows. Returns when
/// something has failed.
child_failure load(const process_spec& spec, const program_image& image) noexcept {
  struct sigaction to_default {};
  to_default.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &to_default, nullptr);
  if (::setsid() == -1) return {start_step::process, errno};
  ::close(0);
  // It becomes the controlling terminal, see `spawn`; and 0, since that is the lowest one free.
  if (::open(image.terminal, O_RDWR) != 0 || ::dup2(0, 1) == -1 || ::dup2(0, 2) == -1)
    return {start_step::process, errno};
  if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == -1)
    return {start_step::process, errno};
  if (spec.identity) {
    if (const int error = change_identity(*spec.identity); error != 0)
      return {start_step::process, error};
  }
  if (spec.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
    return {start_step::process, errno};
  // With the new rights, so that nobody gets where these do not lead.
  if (!spec.cwd.empty() && ::chdir(spec.cwd.c_str()) == -1)
    return {start_step::working_directory, errno};
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(image.path, image.arguments, image.environment);
  return {start_step::command, errno};
}

/// Blocks every signal of this thread: none is to be handled in a child that shares the handlers.
class no_signals {
public:
  no_signals() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~no_signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  no_signals(const no_signals&) = delete;
  no_signals& operator=(const no_signals&) = delete;

private:
  sigset_t before_{};
};

start_result fork_and_load(const process_spec& spec, const program_image& image) {
  // The child's end closes when the program is loaded; what comes before says why it was not.
  int ends[2];
  if (system_call(open_report, [&] { return ::pipe2(ends, O_CLOEXEC); }) == -1)
    return start_failure{start_step::process, last_error()};
  const unique_fd report{ends[0]};
  unique_fd child_end{ends[1]};
  pid_t pid = 0;
  {
    const no_signals blocked;
    pid = system_call(fork_process, [] { return ::fork(); });
    if (pid == 0) {
      const child_failure failure = load(spec, image);
      [[maybe_unused]] const ssize_t told = ::write(child_end.get(), &failure, sizeof failure);
      ::_exit(127);
    }
  }
  if (pid == -1) return start_failure{start_step::process, last_error()};
  child_end.reset();
  child_failure failure{};
  ssize_t size = 0;
  do {
    size = ::read(report.get(), &failure, sizeof failure);
  } while (size == -1 && errno == EINTR);
  if (size != sizeof failure) return pid;
  // Somebody who waits for all children may have been faster.
  while (::waitpid(pid, nullptr, 0) == -1 && errno == EINTR) {
  }
  return start_failure{failure.step, system_error(failure.error)};
}

std::string lower_first(std::string text) {
  if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

}  // namespace

std::string start_failure::describe(const process_spec& spec) const {
  const std::string why = lower_first(code.message());
  switch (step) {
    case start_step::working_directory:
      return "Cannot start in the directory \"" + spec.cwd + "\": " + why + ".";
    case start_step::command:
      return "Cannot start \"" + (spec.argv.empty() ? std::string{} : spec.argv[0]) + "\": " + why +
             ".";
    case start_step::process:
      break;
  }
  return "Cannot start a process: " + why + ".";
}

result<std::string> find_program(const std::string& command, const std::string& path) {
  if (command.empty()) return system_error(ENOENT);
  if (command.find('/') != std::string::npos) {
    if (const error_code failure = check_program(command)) return failure;
    return command;
  }
  error_code failure = system_error(ENOENT);
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    // An empty element means the working directory.
    std::string candidate = end == begin ? "." : path.substr(begin, end - begin);
    candidate += '/';
    candidate += command;
    const error_code why = check_program(candidate);
    if (!why) return candidate;
    if (why.value() != ENOENT && why.value() != ENOTDIR) failure = why;
    begin = end + 1;
  }
  return failure;
}

start_result start_process(const process_spec& spec) {
  if (!spec.cwd.empty() && !spec.identity) {
    if (const error_code failure = check_directory(spec.cwd)) {
      return start_failure{
        is_shortage(failure) ? start_step::process : start_step::working_directory, failure};
    }
  }
  if (spec.argv.empty()) return start_failure{start_step::command, system_error(EINVAL)};
  std::string command = spec.argv[0];
  // A relative path counts from where the program will run.
  if (command.find('/') != std::string::npos && command[0] != '/' && !spec.cwd.empty())
    command.insert(0, spec.cwd + "/");
  const result<std::string> program = find_program(command, std::string{path_of(spec.environment)});
  if (!program) {
    return start_failure{
      is_shortage(program.error()) ? start_step::process : start_step::command, program.error()};
  }

  std::vector<std::string> argv = spec.argv;
  if (!spec.argv0.empty()) argv[0] = spec.argv0;
  const std::vector<char*> arguments = pointers_to(argv);
  const std::vector<char*> environment = pointers_to(spec.environment);
  const program_image image{.path = program->c_str(),
    .arguments = arguments.data(),
    .environment = environment.data(),
    .terminal = spec.terminal.empty() ? "/dev/null" : spec.terminal.c_str()};
  if (spec.identity || spec.no_new_privileges) {
    start_result forked = fork_and_load(spec, image);
    if (forked) restore_descriptor_limit(forked.pid());
    return forked;
  }
  pid_t pid = 0;
  const error_code failure = spawn(spec, image, pid);
  if (!failure) {
    // posix_spawn has no way to say it before; a program needs longer than this to look.
    restore_descriptor_limit(pid);
    return pid;
  }
  switch (failure.value()) {
    case ENOENT:
    case EACCES:
    case ENOEXEC:
    case E2BIG:
    case ETXTBSY:
    case ELIBBAD:
      return start_failure{start_step::command, failure};
    default:
      return start_failure{start_step::process, failure};
  }
}

}  // namespace previewd::os

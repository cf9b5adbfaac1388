#pragma once

#include <cstdint>
#include <ostream>
#include <string_view>
#include <vector>

namespace previewd::test {

/// What may happen in a history. Which terminal, server or thread is meant is said by the command's
/// numbers, counted round among those that there are, so that every history makes sense and one
/// that was shortened does too.
enum class op : uint8_t {
  keep,         // anywhere in the history: terminal.on_exit = keep from the start
  open,         // a terminal: workspace a; b chooses a wrong request or a PTY that cannot be had
  leave,        // terminal a: its shell exits, with code b
  close,        // terminal a is closed by its user; b = 7: one that does not exist
  up,           // terminal a: a dev server listens on port b; c: job, page, answers, printed
  answer,       // server a answers now; b: with a page
  again,        // what is known of server a is registered once more
  down,         // server a: its socket leaves the kernel's table
  vanish,       // the same, and the kernel watch has not seen it yet
  notice,       // the kernel watch sees all that vanished
  die,          // the leader of server a's job ends, with code b
  prompt,       // the shell of terminal a has the terminal again
  foreground,   // the job of server a has its terminal
  stop,         // the job of server a is stopped (state T)
  cont,         // it runs on
  hang,         // server a accepts no connection in time; b odd: it does again
  refuse,       // a connection to server a is refused to thread b; c: proxy or WebSocket
  probe,        // a probe of server a: b: alive, refused, timed out
  tunnel,       // a WebSocket through thread b to server a
  hang_up,      // tunnel a is closed by its client
  hand_add,     // the API registers port b in workspace a
  hand_remove,  // the API removes server a; b = 7: a generation that never was
  stale,        // late news of a generation that is gone: a: which, b: what, c: whose key
  kill,         // an actor meets a fault: a: whose, b: which
  wait,         // a status call that waits for workspace a
  pass,         // time: a
  shut_down,    // the service ends
  apply,        // thread a applies its next routes (interleaved only, as all below)
  deliver,      // message a of those under way arrives
  duplicate,    // the same, and it will arrive again
  run,          // up to a actors' messages are handled, chosen by b
  burst,        // thousands of messages of one kind at once: a: which
};

/// One thing that happens.
struct command {
  op what = op::pass;
  uint8_t a = 0;
  uint8_t b = 0;
  uint8_t c = 0;
};

/// A history, in the order in which its commands happen.
struct history {
  std::vector<command> commands;
};

/// A history that once broke something, replayed by every run.
struct kept_history {
  std::string_view name;
  history what;
};

/// As it is written into kept_histories.cpp.
std::ostream& operator<<(std::ostream& out, const history& what);

/// Histories that are replayed every time: with all messages handled after each command, and with
/// messages under way.
const std::vector<kept_history>& kept_quiescent_histories();
const std::vector<kept_history>& kept_interleaved_histories();

}  // namespace previewd::test

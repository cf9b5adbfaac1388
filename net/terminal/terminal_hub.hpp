#pragma once

#include <caf/error.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "previewd/messages/detector.hpp"
#include "previewd/messages/terminal.hpp"
#include "previewd/net/io_thread.hpp"
#include "previewd/net/terminal/terminal_directory.hpp"

namespace previewd::os {
class child_reaper;
}

namespace previewd::net::terminal {

/// Limits and paces of all terminals. The scrollback of each comes with its terminal_spec.
struct terminal_hub_settings {
  /// Most bytes read from a PTY before others on its thread have their turn; 4 KiB to 1 MiB.
  std::size_t read_bytes = 16 * 1024;
  /// The same for so long after a key was typed on the thread: a flood in one terminal is then
  /// heard of in parts, between which the echo of a key in another one has its turn. Not more than
  /// `read_bytes`. The kernel gives hardly more in one read.
  std::size_t read_bytes_typing = 4 * 1024;
  std::chrono::milliseconds typing{500};
  /// Most bytes handed to a client at once; 1 KiB to 1 MiB.
  std::size_t chunk_bytes = 64 * 1024;
  /// Most bytes of input that wait for a program to read them; what exceeds them is refused.
  std::size_t input_bytes = 1024 * 1024;
  /// A PTY is not read while it is more than this many bytes ahead of the slowest client that
  /// acknowledges.
  uint64_t pause_ahead = 100'000;
  /// It is read again when it is less than this many ahead; below `pause_ahead`.
  uint64_t resume_ahead = 50'000;
  /// How long a PTY waits for a client that acknowledges nothing, while another one goes on: after
  /// it the client is not waited for until it acknowledges again.
  std::chrono::milliseconds stall_timeout{1000};
  /// Most bytes read after a terminal's process has ended: a background job may never stop writing.
  std::size_t drain_bytes = 1024 * 1024;
  /// The detector hears of output at most this often.
  std::chrono::milliseconds output_interval{20};
  /// How long after the last byte in or out the foreground job is looked at once more: a job may
  /// start without a word.
  std::chrono::milliseconds foreground_delay{50};
  /// Most cells of a screen that can be painted for clients who have missed too much of it: columns
  /// times rows, about 80 bytes each while it is made.
  std::size_t screen_cells = 100'000;
  /// A terminal that nobody is attached to, types into or reads for so long tells its actor, and
  /// again after as long. 0: never.
  std::chrono::milliseconds detached{0};
};

/// Bytes of a terminal's output, shared by all who get them.
struct output_chunk {
  std::shared_ptr<const std::string>
    bytes;                // never null; may end inside a character (see utf8.hpp)
  uint64_t sequence = 0;  // bytes the terminal has put out up to the last of these
  uint64_t lost = 0;  // bytes before these that had left the scrollback when they were asked for
  std::shared_ptr<const std::string> screen{};  // where some are lost: see attach_start
};

/// How an attachment begins.
struct attach_start {
  uint64_t from = 0;  // output follows from this sequence on
  uint64_t sequence =
    0;  // what the terminal had put out at that moment: output up to here is replay
  uint64_t lost =
    0;  // bytes between the sequence asked for and `from`, which have left the scrollback
  terminal_size size;  // in force
  /// To be shown before what follows `from`, where some bytes are lost: makes any terminal show
  /// what the screen showed then, in every mode that was on, whatever it shows now. Counts in no
  /// sequence, asks no question, and ends outside any character or escape sequence. Null when
  /// nothing is lost, or the screen is too large.
  std::shared_ptr<const std::string> screen{};
};

/// Who reads a terminal: one attached client. Every call comes on the client's own I/O thread and
/// never from within a call to its attachment; none comes after the attachment is destroyed, which
/// may happen in any of them.
class output_sink {
public:
  /// Attached. Once, before all others but an `on_end` that comes because the terminal went
  /// meanwhile.
  virtual void on_attached(const attach_start& start) = 0;

  /// The answer to one `pull`.
  virtual void on_output(const output_chunk& chunk) = 0;

  /// Another size is in force. Not before `on_attached`.
  virtual void on_resized(terminal_size) {}

  /// All has been read and nothing will follow. Once. Without `on_attached` before it: there is no
  /// such terminal any more.
  virtual void on_end() = 0;

protected:
  ~output_sink() = default;
};

struct attachment_link;
class terminal_hub;

/// A client's place in a terminal's output. Lives on the client's I/O thread; destroying it
/// detaches. Must go before the hub and the I/O threads do.
class attachment {
public:
  ~attachment();
  attachment(const attachment&) = delete;
  attachment& operator=(const attachment&) = delete;

  /// Asks for the next output: one `on_output` follows as soon as there is some, or `on_end`. While
  /// one is owed further calls do nothing. A client whose own queue is full just does not ask; the
  /// terminal waits for nobody, and what leaves the scrollback meanwhile is counted in
  /// `output_chunk::lost`.
  void pull();

  /// The client has shown everything up to `sequence`. From the first call on it is paced: the PTY
  /// is not read while it is `pause_ahead` ahead of it. Lower numbers than before are ignored.
  void acknowledge(uint64_t sequence);

  /// The client is not waited for any more, until it acknowledges again.
  void stop_pacing();

  /// The size this client would like; the smallest columns and rows of all attached clients' wishes
  /// come into force. 1 to 1000.
  void resize(terminal_size size);

  const std::string& terminal_id() const noexcept;

private:
  friend class terminal_hub;
  attachment(terminal_hub& hub, std::shared_ptr<attachment_link> link);

  terminal_hub& hub_;
  std::shared_ptr<attachment_link> link_;
};

/// Output asked for once, without attaching.
struct output_slice {
  std::string bytes;
  uint64_t sequence = 0;  // after the last byte
  uint64_t lost = 0;      // bytes asked for that had left the scrollback
};

/// What one I/O thread has of the terminals, and has moved for them since the start.
struct terminal_counts {
  std::size_t open = 0;    // with a PTY, or with output that can still be read
  uint64_t bytes_in = 0;   // typed
  uint64_t bytes_out = 0;  // put out
};

/// All terminals of the process. Each lives on one of the I/O threads (chosen by its id, which is
/// random), where its PTY is read and written; every I/O thread has a directory of all. Must
/// outlive the running of the I/O threads, and go before they do.
class terminal_hub {
public:
  /// What an order came to: no error when it was carried out, else `terminal_not_found`,
  /// `terminal_exited`, or `limit_reached`.
  using done = std::function<void(caf::error)>;

  /// The threads are all I/O threads, each at the place of its index, started or not. Starts a
  /// thread of its own for starting processes, since execve(2) may wait for a disk.
  terminal_hub(
    std::vector<io_thread*> threads, os::child_reaper& reaper, terminal_hub_settings settings = {});

  /// Only when no I/O thread runs any more.
  ~terminal_hub();

  terminal_hub(const terminal_hub&) = delete;
  terminal_hub& operator=(const terminal_hub&) = delete;

  // For the data plane. Any thread; see messages/data_plane.hpp.

  /// Opens a PTY, starts the process, and answers `opened` to the terminal when every I/O thread's
  /// directory has it; or `failed` with `pty_failed` or `spawn_failed`. From then on `detached`
  /// follows whenever nobody has used it for so long.
  void open(terminal_spec spec, terminal_actor terminal, detector_actor detector);

  /// Reads what the PTY still holds, closes it, hands the rest to the clients and answers
  /// `drained`, also if there is nothing to drain any more. Nothing if the id is not known.
  void finish(const std::string& id);

  /// Drops all that is left of a terminal; clients hear the end.
  void forget(const std::string& id);

  // For clients. `here` is the calling I/O thread.

  /// Attaches a client that has everything up to `after` (0: nothing). Null when there is no such
  /// terminal; else `on_attached` follows, and nothing more until the first `pull`. An exited
  /// terminal can be attached as long as it is known.
  std::unique_ptr<attachment>
  attach(io_thread& here, const std::string& id, uint64_t after, output_sink& sink);

  /// Types `bytes`. `answer` comes on `here` once they are queued; order is kept between calls of
  /// one thread.
  void input(io_thread& here, const std::string& id, std::string bytes, done answer);

  /// Sets the size, for as long as no attached client has a wish of its own. 1 to 1000.
  void resize(io_thread& here, const std::string& id, terminal_size size, done answer);

  /// Sends a signal (signal(7)) to the foreground job.
  void signal(io_thread& here, const std::string& id, int number, done answer);

  /// Reads the output after a sequence, at most `limit` bytes.
  void read(io_thread& here, const std::string& id, uint64_t after, std::size_t limit,
    std::function<void(std::optional<output_slice>)> answer);

  /// The thread that a terminal of this id lives on. A client that is served there is spared a hop
  /// for each key and each chunk. Any thread.
  io_thread& home_of(const std::string& id) const;

  /// What is known of a terminal on the calling thread; nothing when there is none.
  std::optional<terminal_facts> facts(const io_thread& here, const std::string& id) const;

  /// Of the calling thread.
  terminal_counts counts(const io_thread& here) const;

private:
  friend class attachment;
  struct pump;
  struct shelf;

  shelf& shelf_of(const io_thread& thread) const;
  /// Runs `task(pump*)` on the terminal's thread; null when it is not known there.
  template <class Task> void at_home(const std::string& id, Task task);
  /// The same at once, if that is the calling thread. Not for what may call a client back.
  template <class Task> void at_home_soon(const std::string& id, Task task);
  void start_process(io_thread& home, pump& terminal, const terminal_spec& spec);
  void remove_everywhere(const std::string& id);

  std::vector<io_thread*> threads_;
  os::child_reaper& reaper_;
  terminal_hub_settings settings_;
  std::vector<std::unique_ptr<shelf>> shelves_;  // by the thread's index
  io_thread starter_;
};

}  // namespace previewd::net::terminal

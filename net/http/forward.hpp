#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "previewd/net/asio_types.hpp"
#include "previewd/net/auth/grant.hpp"
#include "previewd/net/http/buffer.hpp"
#include "previewd/net/http/exchange.hpp"
#include "previewd/net/http/forward_address.hpp"
#include "previewd/net/http/live.hpp"
#include "previewd/net/http/message.hpp"

/// `auth.mode = forward`: the embedding application says who may, as nginx's `auth_request`,
/// Traefik's `ForwardAuth` and Caddy's `forward_auth` ask it.
namespace previewd::net::http {

/// How it is asked by one I/O thread.
struct forward_settings {
  forward_address address;
  std::chrono::milliseconds timeout{2000};  // for the whole of one question
  std::chrono::milliseconds cache{10000};   // that a good answer is kept; 0: not at all
  std::size_t remembered = 4096;            // good answers that are kept; the oldest go first
  std::size_t asks = 64;                    // that may be under way at once
  /// How long what is granted lasts for what stays open, where the answer does not say it.
  std::chrono::seconds lifetime{12 * 3600};
  /// Of the keys under which answers are kept, so that nobody can make two questions meet: the same
  /// for desks that tell each other. Empty: one of its own.
  std::string secret;
};

/// What the application has said.
struct forward_verdict {
  /// `refused`: 401, 403, or a redirection to where one logs in. `unavailable`: it said nothing, or
  /// nothing that makes sense.
  enum class kind : uint8_t { granted, refused, unavailable };
  kind what = kind::unavailable;
  std::shared_ptr<const auth::grant> who;  // granted
  // refused: what is passed on
  unsigned status = 0;
  std::string location;
  std::string challenge;  // `WWW-Authenticate`
  std::string content_type;
  std::string body;
};

/// Reads an answer. Anything that is not clearly a yes or a no is `unavailable`.
forward_verdict read_verdict(const answer_head& head, std::string body,
  std::chrono::system_clock::time_point now, std::chrono::seconds lifetime);

/// What is asked, for one request.
struct forward_question {
  const request_head& head;
  std::string_view scheme;
  const std::string& client_address;
  std::string_view forwarded_for;  // the chain that a trusted peer sent; else empty
  std::string_view workspace;      // `project/user` of the preview; empty: for the service itself
};

/// The whole request to the application. Nothing that the client has said reaches it but what is
/// named here: no `Previewd-*` and no `X-Forwarded-*` of its own.
std::string write_question(const forward_address& address, const forward_question& question);

/// Who waits for a verdict.
class forward_waiter {
public:
  /// Called once, never from within `ask`. It may leave, or ask again, within the call.
  virtual void judged(const forward_verdict& verdict) = 0;

protected:
  ~forward_waiter() = default;
};

class forward_ask;

/// A good answer under the key of its question, which has nothing of what was asked.
struct forward_memory {
  std::string key;
  steady_clock::time_point until;
  std::shared_ptr<const forward_verdict> verdict;
};

/// Asks the application, and remembers what it granted. Questions that are the same are asked once:
/// same credentials, client address, host and workspace, whatever the path. One I/O thread's.
class forward_desk {
public:
  forward_desk(live_table& table, forward_settings settings);
  ~forward_desk();

  /// The verdict, when it is known or cannot be had. Null: `who` is told.
  std::shared_ptr<const forward_verdict> ask(const forward_question& question, forward_waiter& who);

  /// The same for who is no connection: calls `done` once, now or later; not when the thread stops
  /// before.
  void
  ask(const forward_question& question, std::function<void(const forward_verdict& verdict)> done);

  /// It waits no more.
  void leave(forward_waiter& who);

  /// Where the desks of other threads are told what this one has been granted. Before the first
  /// question.
  void tell(std::function<void(const forward_memory&)> others) { others_ = std::move(others); }

  /// Another desk with the same secret has been granted this.
  void learn(forward_memory what);

  /// Questions under way, and answers that are remembered.
  std::size_t asking() const noexcept { return asks_.size(); }
  std::size_t remembered() const noexcept { return known_.size(); }

private:
  friend class forward_ask;
  class caller;
  using verdict_ptr = std::shared_ptr<const forward_verdict>;

  std::string key_of(const forward_question& question) const;
  verdict_ptr recall(const std::string& key);
  void remember(const std::string& key, verdict_ptr verdict);
  void concluded(forward_ask& ask, forward_verdict verdict);
  void gone(forward_ask& ask);

  live_table& table_;
  forward_settings settings_;
  std::function<void(const forward_memory&)> others_;
  std::unordered_map<std::string, forward_ask*> asks_;
  std::list<forward_memory> memories_;  // the oldest comes first
  std::unordered_map<std::string, std::list<forward_memory>::iterator> known_;
  std::list<std::unique_ptr<caller>> callers_;
  forward_ask* departing_ = nullptr;  // whose waiters are being told
  bool failing_ = false;              // said once, until an answer comes
};

/// One question under way. Owned by its thread's table.
class forward_ask final : public timed_object {
public:
  forward_ask(live_table& table, forward_desk& desk, std::string key, std::string request);
  void start();

protected:
  void closing() override;
  void deadline_passed() override;

private:
  friend class forward_desk;

  void receive();
  void received(const error_code& error);
  void conclude(forward_verdict verdict);

  forward_desk& desk_;
  std::string key_;
  std::string request_;
  stream_socket socket_;
  std::vector<forward_waiter*> waiters_;
  flat_buffer in_;
  head_scanner scanner_{head_scanner::kind::answer};
  std::string head_text_;
  answer_head head_;
  bool head_read_ = false;
  body_reader body_;
  std::string content_;
};

}  // namespace previewd::net::http

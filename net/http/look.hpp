#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "previewd/messages/detector.hpp"
#include "previewd/messages/preview_server.hpp"
#include "previewd/net/http/buffer.hpp"
#include "previewd/net/http/live.hpp"
#include "previewd/net/http/message.hpp"
#include "previewd/net/http/upstream.hpp"

namespace previewd::net::http {

/// What one answer of a dev server says of it.
struct look_evidence {
  unsigned status = 0;
  bool html = false;
  bool speaks_http = true;  // false: a debugger's or a database's port, which says so
  std::string location;
  std::string type;  // empty: nothing tells it apart
};

/// Reads the evidence out of an answer: its head, and the beginning of its body.
look_evidence evidence_in(const answer_head& head, std::string_view body);

/// One polite look at a listener, by the scheme that the target is thought to speak; where that is
/// not understood, by the other one. It may say more than once what it sees: `silent`, then what is
/// known so far (see `look_words`), then all. Owned by its thread's table; closes by itself.
class look final : public timed_object {
public:
  /// `tls` outlives it.
  look(live_table& table, tls_client& tls, endpoint target, const workspace_key& key,
    steady_clock::duration timeout, std::function<void(identity)> said,
    look_words words = look_words::early);
  void start();

protected:
  void closing() override;
  void deadline_passed() override;

private:
  // What is asked, in this order; most looks need the first only. The decoy is a path that nobody
  // serves on purpose.
  enum class step : uint8_t { root, root_followed, base, base_followed, decoy, decoy_followed };

  void ask(step what, std::string path);
  void postpone();
  bool follow(const look_evidence& seen, std::string_view below, step next);
  void bound_step();
  void step_overdue();
  void await_deadline();
  void connected();
  void send_request();
  bool try_other_scheme(identity::verdict verdict);
  void receive();
  void received(const error_code& error);
  bool read_head(const error_code& error);
  void await_body();
  void answered(const look_evidence& seen);
  void root_answered(const look_evidence& seen);
  void note(const look_evidence& seen);
  void failed(identity::verdict verdict);
  void conclude();
  void say(const identity& what);

  endpoint target_;
  std::string base_;  // `/preview/p/u`
  steady_clock::time_point end_;
  steady_clock::time_point step_end_;  // how long the step under way may go on as it does
  // When what is known is said, though there is more to ask.
  steady_clock::time_point early_ = steady_clock::time_point::max();
  std::function<void(identity)> said_;
  look_words words_;
  tls_client& tls_;
  client_socket socket_;
  tls_hold hold_;
  std::optional<identity::verdict> first_verdict_;  // by the scheme tried first, when it failed
  std::optional<look_evidence> plain_;              // a 400 by HTTP, while TLS is tried
  bool hands_shaken_ = false;                       // in that trial
  uint64_t round_ = 0;  // of the request under way; handlers of earlier ones are stale
  step step_ = step::root;
  std::string request_;
  flat_buffer in_;
  head_scanner scanner_{head_scanner::kind::answer};
  std::string head_text_;
  answer_head head_;
  bool head_read_ = false;
  body_reader body_;
  std::string content_;
  identity result_;
  bool root_leads_to_base_ = false;
  std::optional<look_evidence> under_base_;  // a page there, unless it is everywhere
  bool silence_said_ = false;
  std::string path_;        // of the request under way
  bool postponed_ = false;  // until there is what it takes to send that
};

/// One TCP connect, as a health check. Owned by its thread's table; closes by itself.
class connect_probe final : public timed_object {
public:
  connect_probe(live_table& table, const endpoint& target, steady_clock::duration timeout,
    std::function<void(probe_outcome, uint64_t)> done);
  void start();

protected:
  void closing() override;
  void deadline_passed() override { finish(probe_outcome::timed_out); }

private:
  void finish(probe_outcome outcome);

  asio::ip::tcp::endpoint address_;
  steady_clock::duration timeout_;
  std::function<void(probe_outcome, uint64_t)> done_;
  client_socket socket_;
  steady_clock::time_point begun_;
};

}  // namespace previewd::net::http

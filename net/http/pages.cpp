#include "previewd/net/http/pages.hpp"

#include <nlohmann/json.hpp>

#include "previewd/net/http/message.hpp"

namespace previewd::net::http {

namespace {

// Order as in RFC 9457; text that is no UTF-8 does not make it fail.
std::string problem_json(unsigned status, std::string_view code, std::string_view detail) {
  nlohmann::ordered_json body;
  body["type"] = "about:blank";
  body["title"] = std::string{reason_phrase(status)};
  body["status"] = status;
  body["code"] = std::string{code};
  body["detail"] = std::string{detail};
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string page(std::string_view title, std::string_view sentence, std::string_view head) {
  std::string out =
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">";
  out.append(head).append("<title>").append(escape_html(title));
  out.append(
    "</title><style>:root{color-scheme:light dark}body{font:16px/1.5 "
    "system-ui,sans-serif;display:grid;"
    "place-content:center;min-height:90vh;margin:0;padding:1rem;text-align:center}h1{font-size:1."
    "25rem}"
    "p{opacity:.75;max-width:36rem}</style></head><body><main><h1>");
  out.append(escape_html(title)).append("</h1><p>").append(escape_html(sentence));
  return out.append("</p></main></body></html>");
}

}  // namespace

response problem(unsigned status, std::string_view code, std::string detail) {
  response answer;
  answer.status = status;
  answer.content_type = "application/problem+json";
  answer.body = problem_json(status, code, detail);
  return answer;
}

response problem(errc code, std::string detail) {
  return problem(static_cast<unsigned>(http_status(code)), to_code(code), std::move(detail));
}

response error_answer(
  const request_head& head, unsigned status, std::string_view code, std::string_view sentence) {
  if (!is_navigation(head)) return problem(status, code, std::string{sentence});
  response answer;
  answer.status = status;
  answer.content_type = "text/html; charset=utf-8";
  answer.fields.emplace_back("Cache-Control", "no-store");
  answer.body = page(reason_phrase(status), sentence, {});
  return answer;
}

response unavailable_answer(const request_head& head, const preview_target& target,
  const preview_pages& pages, const stop_record* last_stop, std::string_view sentence) {
  response answer;
  answer.status = 503;
  answer.fields.emplace_back("Retry-After", "1");
  answer.fields.emplace_back("Cache-Control", "no-store");
  if (is_navigation(head)) {
    answer.content_type = "text/html; charset=utf-8";
    if (pages.loading && !pages.loading_policy.empty())
      answer.fields.emplace_back("Content-Security-Policy", pages.loading_policy);
    answer.body = pages.loading ? pages.loading(target)
                                : page("Waiting for the dev server", sentence,
                                    "<meta http-equiv=\"refresh\" content=\"1\">");
    return answer;
  }
  answer.content_type = "application/problem+json";
  answer.body = problem_json(503, to_code(errc::preview_unavailable), sentence);
  answer.body.pop_back();
  answer.body += ",\"lastStop\":";
  answer.body += last_stop != nullptr && pages.stop_record ? pages.stop_record(*last_stop) : "null";
  answer.body += '}';
  return answer;
}

}  // namespace previewd::net::http

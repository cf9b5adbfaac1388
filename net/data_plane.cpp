#include "previewd/net/data_plane.hpp"

#include <atomic>
#include <caf/send.hpp>
#include <utility>

namespace previewd::net {

void thread_data_plane::connect(
  std::vector<io_thread_parts> threads, terminal::terminal_hub& terminals) {
  threads_ = std::move(threads);
  terminals_ = &terminals;
}

void thread_data_plane::publish(workspace_routes routes, registry_actor reply_to) {
  const auto shared = std::make_shared<const workspace_routes>(std::move(routes));
  const auto left = std::make_shared<std::atomic<std::size_t>>(threads_.size());
  for (const io_thread_parts& one : threads_) {
    one.thread->post([http = one.http, shared, left, reply_to] {
      http->apply(*shared);
      // The last thread speaks for all: what it says is true of every one.
      if (left->fetch_sub(1) == 1 && reply_to)
        caf::anon_send(reply_to, applied_atom_v, shared->key, shared->revision);
    });
  }
}

void thread_data_plane::deliver(const event& what) {
  const auto encoded = api::encode(what, addresses_);
  for (const io_thread_parts& one : threads_)
    one.thread->post([app = one.socketio, attach = one.attach, streams = one.events, encoded] {
      app->deliver(encoded);
      attach->deliver(encoded);
      streams->deliver(encoded);
    });
}

void thread_data_plane::probe(
  const endpoint& target, caf::timespan timeout, uint64_t round, health_probe_actor reply_to) {
  const io_thread_parts& one = next_thread();
  one.thread->post([http = one.http, target, timeout, round, reply_to = std::move(reply_to)] {
    http->probe(target, std::chrono::duration_cast<std::chrono::milliseconds>(timeout),
      [round, reply_to](probe_outcome outcome, uint64_t microseconds) {
        caf::anon_send(reply_to, round, outcome, microseconds);
      });
  });
}

void thread_data_plane::identify(const endpoint& target, const workspace_key& key,
  caf::timespan timeout, uint64_t token, detector_actor reply_to) {
  const io_thread_parts& one = next_thread();
  one.thread->post([http = one.http, target, key, timeout, token, reply_to = std::move(reply_to)] {
    http->look(target, key, std::chrono::duration_cast<std::chrono::milliseconds>(timeout),
      [token, reply_to](
        const identity& what) { caf::anon_send(reply_to, identity_atom_v, token, what); });
  });
}

void thread_data_plane::open_terminal(
  terminal_spec spec, terminal_actor terminal, detector_actor detector) {
  terminals_->open(std::move(spec), std::move(terminal), std::move(detector));
}

void thread_data_plane::finish_terminal(const std::string& id) {
  terminals_->finish(id);
}

void thread_data_plane::forget_terminal(const std::string& id) {
  terminals_->forget(id);
}

void thread_data_plane::adopt_connection(connection_id id, ws_connection_actor actor) {
  io_thread_parts& one = threads_.at(id.thread);
  one.thread->post([&one, id, actor = std::move(actor)]() mutable {
    if (id.number >= attach::first_attach_number) {
      one.attach->adopt(id.number, std::move(actor));
    } else if (id.number >= socketio::first_client_number) {
      one.socketio->adopt(id.number, std::move(actor));
    } else {
      one.http->adopt_connection(id.number, std::move(actor));
    }
  });
}

void thread_data_plane::close_connection(connection_id id) {
  io_thread_parts& one = threads_.at(id.thread);
  one.thread->post([&one, id] {
    if (id.number >= attach::first_attach_number) {
      one.attach->close_connection(id.number);
    } else if (id.number >= socketio::first_client_number) {
      one.socketio->close_connection(id.number);
    } else {
      one.http->close_connection(id.number);
    }
  });
}

void thread_data_plane::list_tunnels(
  io_thread& here, std::function<void(std::vector<api::connection_info>)> done) {
  struct gathering {
    std::vector<std::vector<api::connection_info>> parts;
    std::atomic<std::size_t> left;
    std::function<void(std::vector<api::connection_info>)> done;
  };
  const auto all = std::make_shared<gathering>();
  all->parts.resize(threads_.size());
  all->left = threads_.size();
  all->done = std::move(done);
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    threads_[i].thread->post([all, i, http = threads_[i].http, &here] {
      for (http::tunnel_info& tunnel : http->tunnels())
        all->parts[i].push_back(
          {tunnel.id, std::move(tunnel.server), std::move(tunnel.client_address),
            std::move(tunnel.path), std::move(tunnel.protocol), std::move(tunnel.upstream),
            tunnel.opened_at, tunnel.bytes_up, tunnel.bytes_down, tunnel.idle});
      if (all->left.fetch_sub(1) != 1) return;
      here.post([all] {
        std::vector<api::connection_info> result;
        for (auto& part : all->parts)
          result.insert(result.end(), std::make_move_iterator(part.begin()),
            std::make_move_iterator(part.end()));
        // Taken along, since another thread may be the last to let go of the rest.
        const auto done_here = std::move(all->done);
        done_here(std::move(result));
      });
    });
  }
}

io_thread_parts& thread_data_plane::next_thread() {
  return threads_[next_.fetch_add(1, std::memory_order_relaxed) % threads_.size()];
}

}  // namespace previewd::net

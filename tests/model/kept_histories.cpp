#include "previewd/tests/model/history.hpp"

namespace previewd::test {

const std::vector<kept_history>& kept_quiescent_histories() {
  static const std::vector<kept_history> kept{
    {"a restart replaces an entry that nobody may refer to any more",
      {{{op::open, 0, 0, 0}, {op::up, 0, 0, 0}, {op::down, 0, 0, 0}, {op::up, 0, 0, 24}}}},
    {"closing a terminal without servers is answered",
      {{{op::open, 0, 0, 0}, {op::close, 0, 0, 0}}}},
    {"a wait that ends with the hold",
      {{{op::open, 0, 0, 0}, {op::up, 0, 0, 0}, {op::down, 0, 0, 0}, {op::wait, 0, 190, 0},
        {op::pass, 5, 0, 0}}}},
    {"a server that never answered is unreachable for a while",
      {{{op::open, 0, 0, 0}, {op::up, 0, 0, 119}, {op::probe, 0, 131, 0}, {op::probe, 0, 83, 0},
        {op::probe, 0, 0, 0}}}},
    {"what outlives its terminal before it has answered is used as it is",
      {{{op::keep, 0, 0, 0}, {op::open, 0, 0, 0}, {op::up, 0, 0, 171}, {op::leave, 0, 0, 0}}}},
    {"a terminal dies while a socket of another has gone unseen",
      {{{op::open, 0, 0, 0}, {op::up, 0, 0, 0}, {op::open, 0, 0, 0}, {op::vanish, 0, 0, 0},
        {op::kill, 3, 0, 0}}}},
  };
  return kept;
}

const std::vector<kept_history>& kept_interleaved_histories() {
  static const std::vector<kept_history> kept{
    {"a port moves to another workspace before its end there is known",
      {{{op::up, 3, 190, 16}, {op::deliver, 0, 0, 0}, {op::vanish, 0, 0, 0}, {op::up, 0, 174, 16},
        {op::deliver, 0, 0, 0}, {op::run, 1, 0, 0}, {op::pass, 1, 0, 0}}}},
    {"old news of a server that is being removed",
      {{{op::up, 0, 0, 63}, {op::deliver, 0, 0, 0}, {op::run, 0, 0, 0}, {op::pass, 1, 0, 0},
        {op::run, 0, 0, 0}, {op::deliver, 0, 0, 0}, {op::run, 2, 0, 0}, {op::hand_remove, 0, 0, 0},
        {op::again, 0, 0, 0}, {op::answer, 0, 0, 0}}}},
    {"a new socket on the port of one whose registration is under way",
      {{{op::up, 1, 0, 16}, {op::deliver, 0, 0, 0}, {op::run, 0, 0, 0}, {op::pass, 1, 0, 0},
        {op::run, 0, 0, 0}, {op::deliver, 0, 0, 0}, {op::down, 0, 0, 0}, {op::up, 0, 0, 0},
        {op::close, 3, 0, 0}}}},
    {"a shell that ends before its terminal is known to be open",
      {{{op::pass, 4, 0, 0}, {op::run, 0, 0, 0}, {op::open, 0, 1, 0}, {op::run, 2, 0, 0},
        {op::deliver, 0, 0, 0}, {op::leave, 0, 0, 0}, {op::deliver, 7, 0, 0}}}},
    {"a terminal is closed while its exit is under way",
      {{{op::up, 7, 0, 16}, {op::duplicate, 0, 0, 0}, {op::run, 0, 0, 0}, {op::pass, 1, 0, 0},
        {op::run, 0, 0, 0}, {op::keep, 0, 0, 0}, {op::duplicate, 0, 0, 0}, {op::leave, 3, 0, 0},
        {op::close, 15, 0, 0}}}},
    {"the event bus ends while it is being told again what ended it",
      {{{op::up, 0, 0, 0}, {op::deliver, 7, 0, 0}, {op::run, 0, 0, 0}, {op::pass, 7, 0, 0},
        {op::run, 0, 0, 0}, {op::deliver, 0, 0, 0}, {op::deliver, 0, 0, 0}, {op::run, 2, 42, 0},
        {op::kill, 0, 154, 0}, {op::down, 0, 0, 0}, {op::deliver, 4, 0, 0}, {op::run, 7, 0, 0},
        {op::pass, 3, 0, 0}, {op::run, 37, 0, 0}, {op::kill, 0, 88, 0}}}},
  };
  return kept;
}

}  // namespace previewd::test

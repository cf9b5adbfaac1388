#pragma once

#include <caf/replies_to.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

/// The spellings of CAF 0.17 that differ in 1.x stay behind these names.
namespace previewd {

/// A signature whose sender expects no answer.
template <class... In> using accepts = caf::reacts_to<In...>;

/// A signature that answers with an `Out`.
template <class Out, class... In>
using answers = typename caf::replies_to<In...>::template with<Out>;

}  // namespace previewd

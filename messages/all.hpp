#pragma once

/// Every message type, complete: for whoever calls `add_message_types<caf::id_block::previewd>()`
/// on the configuration of an actor system.
#include "previewd/messages/connection.hpp"
#include "previewd/messages/counters.hpp"
#include "previewd/messages/detector.hpp"
#include "previewd/messages/events.hpp"
#include "previewd/messages/preview_server.hpp"
#include "previewd/messages/registry.hpp"
#include "previewd/messages/route.hpp"
#include "previewd/messages/server.hpp"
#include "previewd/messages/store.hpp"
#include "previewd/messages/terminal.hpp"
#include "previewd/messages/type_ids.hpp"

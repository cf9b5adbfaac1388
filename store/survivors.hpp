#pragma once

#include <string>

#include "previewd/messages/store.hpp"
#include "previewd/os/procfs.hpp"
#include "previewd/store/database.hpp"

namespace previewd::store {

/// A process that holds a socket of the server now: the one that is named as its pid, if that does;
/// else the one with the lowest pid. pid 0: none is found. Looks at all processes where none is
/// named, which may take 20 ms.
os::process_id owner_of(const server_description& what);

/// What tells one run of the machine from another (random(4), boot_id); empty: not known.
std::string boot_id();

/// Which of the servers that were kept are there still: in the same run of the machine one of their
/// sockets listens on its port, and the very process that held it holds it. Of one beyond this
/// machine no sockets are known: it counts as there until it is tried. Sockets that are gone are
/// left out.
restored_state judge(content found);

}  // namespace previewd::store

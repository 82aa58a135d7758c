// print_error_line(): a line of a program's log, on stderr.
//
//     print_error_line("kedge: connection of %s: %s\n", peer, what);
//
// Prints at most 512 bytes, as printf(3) does. Drops the line where stderr is a pipe or a terminal
// without room, or where its reader has gone: a peer that causes lines must not stop the loop. Any
// thread.
#pragma once

namespace kedge {

[[gnu::format(printf, 1, 2)]] void print_error_line(const char* format, ...) noexcept;

}  // namespace kedge

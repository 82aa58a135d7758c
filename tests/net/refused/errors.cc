// Code of net that must not compile. The comment at the end of a line is a part of what the
// compiler must say about the line: tests/runtime/refused/refused.py compares them.
#include "kedge/net/serve.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/unix_stream.h"
#include "kedge/runtime/task.h"

namespace net = kedge::net;

kedge::task<> takes_nothing();
kedge::task<> takes_another(net::unix_stream s);
kedge::task<> takes_a_reference(net::tcp_stream& s);
void gives_nothing(net::tcp_stream s);
kedge::task<> serves(net::tcp_stream s);
void is_told_nothing();

kedge::task<> serves_wrongly(net::tcp_listener& l) {
  (void)co_await net::serve(l, takes_nothing);                // "serve() calls handler(stream)"
  (void)co_await net::serve(l, takes_another);                // "serve() calls handler(stream)"
  (void)co_await net::serve(l, takes_a_reference);            // "serve() calls handler(stream)"
  (void)co_await net::serve(l, gives_nothing);                // "a handler that gives a task"
  (void)co_await net::serve(l, serves, {}, is_told_nothing);  // "serve() calls on_failure("
}

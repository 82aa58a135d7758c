#include "worker.h"

#include <span>

#include "batch.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"

namespace mach = kedge::mach;

kedge::task<> worker::serve() {
  for (;;) {
    const auto request = co_await requests_.receive();
    if (!request) co_return;
    const auto header = request->read<batch_header>();
    if (!header || request->bytes().size() - sizeof *header < header->size) continue;
    const auto text = request->bytes().subspan(sizeof *header, header->size);
    const answer a{header->number, count_words(text, header->in_word != 0)};
    // The result is ignored: a dispatcher that is gone needs no answer.
    (void)co_await mach::send(answers_, mach::message(answer_id, a));
  }
}

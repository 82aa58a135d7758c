// dispatcher: passes a request to the member function that does it.
//
//   const dispatcher run(*this, request, reply);
//   switch (request.number) {
//     case call_number::type:
//       return run(&port_call::type);
//
// The member function takes the call's own structs: kern_return_t type(const requests::type&,
// replies::type&), or the request alone if the call answers nothing but its result.
#pragma once

#include <mach/kern_return.h>

#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

template <typename Calls>
class dispatcher {
 public:
  dispatcher(Calls& calls, const any_request& request, any_reply& reply) noexcept
      : calls_(calls), request_(request), reply_(reply) {}

  template <typename Request>
  kern_return_t operator()(kern_return_t (Calls::*does)(const Request&,
                                                        typename Request::reply&)) const {
    return (calls_.*does)(request_.as<Request>(), reply_.as<typename Request::reply>());
  }
  template <typename Request>
  kern_return_t operator()(kern_return_t (Calls::*does)(const Request&)) const {
    return (calls_.*does)(request_.as<Request>());
  }

 private:
  Calls& calls_;
  const any_request& request_;
  any_reply& reply_;
};

}  // namespace kedge::mach::kernel

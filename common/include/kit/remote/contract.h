#pragma once

#include "kit/remote/interfaces.h"
#include "kit/remote/passing.h"

/// KIT_REMOTE(lab02, attention, void, (TensorView<const float> q, ...), q, ...): one function of a lab's
/// contract.
///
/// <lab>/remote/contract.cpp has one such line a function and is compiled twice. For the checker a line
/// defines the function: it asks the worker. For the worker (KIT_REMOTE_WORKER) it makes the student's
/// function known under its name. A function without a line is an undefined reference in the checker, a line
/// that does not fit the header an error of the compiler.
#if defined(KIT_REMOTE_WORKER)
#define KIT_REMOTE(space, function, result, parameters, ...)                                       \
  static const ::kit::remote::Registration kit_remote_##function(                                  \
      #space "::" #function, [](::kit::remote::Reader& reader, ::kit::remote::Writer& writer) {    \
        ::kit::remote::Call<::kit::remote::SignatureOf<decltype(&space::function)>::Type>::answer( \
            reader, writer, &space::function);                                                     \
      });
#else
#define KIT_REMOTE(space, function, result, parameters, ...)                                       \
  result space::function parameters {                                                              \
    return ::kit::remote::Call<::kit::remote::SignatureOf<decltype(&space::function)>::Type>::ask( \
        ::kit::remote::Connection::of_checker(),                                                   \
        {.name = #space "::" #function} __VA_OPT__(, ) __VA_ARGS__);                               \
  }
#endif

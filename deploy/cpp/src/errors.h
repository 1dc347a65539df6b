// Errors that are meant for the user: what was given, what is accepted, what to do.
#pragma once

#include <stdexcept>
#include <string>

namespace ppghost {

/// What was asked for cannot be done; the program prints the sentence and leaves with code 2.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One picture cannot be used; the others can.
class PictureError : public Error {
 public:
  using Error::Error;
};

}  // namespace ppghost

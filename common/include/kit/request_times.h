#pragma once

namespace kit {

/// What happened to a request, by the server's clock.
struct RequestTimes {
  int id = 0;
  double arrival_ms = 0.0;
  double scheduled_ms = 0.0;    ///< beginning of its first step
  double first_token_ms = 0.0;  ///< end of the step that wrote its first token
  double finished_ms = 0.0;     ///< end of the step that wrote its last token
  int prompt_len = 0;
  int output_len = 0;
};

}  // namespace kit

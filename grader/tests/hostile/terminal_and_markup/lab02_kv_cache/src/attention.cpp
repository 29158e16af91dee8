#include "lab02/attention.h"

#include <cstdio>
#include <string>

namespace lab02 {

namespace {

const std::string kText =
    "<script>alert('kit-hostile')</script>\"'&&<![CDATA[]]>]]></failure></testsuite><testcase/> "
    "\x1b]0;title\x07\x1b[2J\x1b[31m"
    "\x01\x02\x08\x7f \xff\xfe\xc0\xaf \xe2\x80\xae \xed\xa0\x80 %s%n {} {0} "
    "\r\n::error::kit\r$(reboot)`reboot`";

}  // namespace

void softmax(std::span<float> /*scores*/) {
  std::fwrite(kText.data(), 1, kText.size(), stdout);
  std::fwrite(kText.data(), 1, kText.size(), stderr);
  std::fflush(nullptr);
  throw kit::Error(kText);
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02

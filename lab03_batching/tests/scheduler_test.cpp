#include <gtest/gtest.h>

#include <limits>

#include "kit/reference.h"
#include "kit/testing.h"
#include "scheduler_driver.h"

// Small scenarios, step by step; blocks have 4 places. Steps are written as text_of() does:
// "1:0..4* 2:0..2 | preempted 3".

namespace {

using kit::testing::throws_error;
using lab03_tests::says;
using lab03_tests::SchedulerDriver;
using lab03_tests::text_of;

constexpr int kBlockSize = 4;
constexpr int kPlenty = 64;  // blocks, tokens or tokens to write, where they are not the point

TEST(Scheduler, APromptAndThenOneTokenAStep) {
  SchedulerDriver driver({kBlockSize, 4, 16, 0}, kPlenty);
  driver.add(7, 5, 3);
  EXPECT_EQ(text_of(driver.scheduler().waiting()), "7");
  EXPECT_TRUE(says(driver.text(), "7:0..4*"));
  EXPECT_EQ(text_of(driver.scheduler().waiting()), "");
  EXPECT_EQ(text_of(driver.scheduler().running()), "7");
  EXPECT_TRUE(says(driver.text(), "7:5..5*"));
  EXPECT_TRUE(says(driver.text(), "7:6..6*"));
  driver.finish(7);
  EXPECT_TRUE(says(driver.text(), "nothing"));
  EXPECT_EQ(text_of(driver.scheduler().running()), "");
  EXPECT_EQ(driver.used_blocks(), 0);
}

TEST(Scheduler, WithoutRequestsThereIsNothingToDo) {
  SchedulerDriver driver({kBlockSize, 4, 16, 0}, 3);
  EXPECT_TRUE(says(driver.text(), "nothing"));
  EXPECT_TRUE(says(driver.text(), "nothing"));
  driver.add(1, 1, 1);
  EXPECT_TRUE(says(driver.text(), "1:0..0*"));
}

TEST(Scheduler, TablesGrowBlockByBlock) {
  SchedulerDriver driver({kBlockSize, 4, 16, 0}, kPlenty);
  driver.add(1, kBlockSize, 10);  // 4 tokens are one block, the fifth needs another
  for (const int expected : {1, 2, 2, 2, 2, 3, 3}) {
    const int n_tokens = driver.requests().at(1).n_known() + (driver.running().empty() ? 0 : 1);
    driver.step();
    EXPECT_TRUE(kit::testing::matches_count(
        driver.used_blocks(), expected,
        {{{"tokens / block_size + 1: a block too many at exact multiples", n_tokens / kBlockSize + 1},
          {"tokens / block_size, rounded down", n_tokens / kBlockSize},
          {"a block for each token", n_tokens}}}))
        << "blocks of " << n_tokens << " tokens";
  }
}

TEST(Scheduler, ALongPromptRunsInChunksBesideDecode) {
  SchedulerDriver driver({kBlockSize, 4, 8, 0}, kPlenty);
  driver.add(1, 3, 10);
  driver.add(2, 20, 10);
  EXPECT_TRUE(says(driver.text(), "1:0..2* 2:0..4",
                   {{"every request has a token budget of its own", "1:0..2* 2:0..7"},
                    {"a prompt waits until all of it fits into the budget", "1:0..2*"},
                    {"samples is set for every chunk", "1:0..2* 2:0..4*"}}));
  EXPECT_TRUE(says(driver.text(), "1:3..3* 2:5..11", {{"nobody decodes while a prompt runs", "2:5..12"}}));
  driver.add(3, 2, 10);
  EXPECT_TRUE(says(driver.text(), "1:4..4* 2:12..18"));
  EXPECT_TRUE(says(driver.text(), "1:5..5* 2:19..19* 3:0..1*"));
  EXPECT_TRUE(says(driver.text(), "1:6..6* 2:20..20* 3:2..2*"));
}

TEST(Scheduler, ChunksMayEndWhereBlocksDo) {
  SchedulerDriver driver({kBlockSize, 2, 8, 0}, kPlenty);
  driver.add(1, 16, 10);
  EXPECT_TRUE(says(driver.text(), "1:0..7"));
  EXPECT_EQ(driver.used_blocks(), 4) << "an admission allocates for all known tokens at once";
  EXPECT_TRUE(says(driver.text(), "1:8..15*"));
  EXPECT_EQ(driver.used_blocks(), 4);
  EXPECT_TRUE(says(driver.text(), "1:16..16*"));
  EXPECT_EQ(driver.used_blocks(), 5);
}

TEST(Scheduler, AllRequestsOfAStepShareTheBudget) {
  SchedulerDriver driver({kBlockSize, 8, 10, 0}, kPlenty);
  driver.add(1, 4, 9);
  driver.add(2, 5, 9);
  driver.add(3, 6, 9);
  driver.add(4, 1, 9);
  EXPECT_TRUE(says(driver.text(), "1:0..3* 2:0..4* 3:0..0",
                   {{"every request has a token budget of its own", "1:0..3* 2:0..4* 3:0..5* 4:0..0*"},
                    {"a prompt waits until all of it fits into the budget, and is overtaken meanwhile",
                     "1:0..3* 2:0..4* 4:0..0*"},
                    {"a prompt waits until all of it fits into the budget", "1:0..3* 2:0..4*"}}));
  EXPECT_EQ(text_of(driver.scheduler().running()), "1 2 3") << "nobody is admitted without a token to run";
  EXPECT_TRUE(says(driver.text(), "1:4..4* 2:5..5* 3:1..5* 4:0..0*"));
}

TEST(Scheduler, TheSmallestBudgetHasATokenForEverybody) {
  SchedulerDriver driver({kBlockSize, 3, 3, 0}, kPlenty);
  for (const int id : {1, 2, 3}) driver.add(id, 2, 9);
  EXPECT_TRUE(says(driver.text(), "1:0..1* 2:0..0"));
  EXPECT_TRUE(says(driver.text(), "1:2..2* 2:1..1* 3:0..0"));
  EXPECT_TRUE(says(driver.text(), "1:3..3* 2:2..2* 3:1..1*"));
  EXPECT_TRUE(says(driver.text(), "1:4..4* 2:3..3* 3:2..2*"));
}

TEST(Scheduler, NoMoreThanMaxNumSeqsRun) {
  SchedulerDriver driver({kBlockSize, 2, 16, 0}, kPlenty);
  for (const int id : {1, 2, 3}) driver.add(id, 2, 9);
  EXPECT_TRUE(
      says(driver.text(), "1:0..1* 2:0..1*", {{"max_num_seqs is ignored", "1:0..1* 2:0..1* 3:0..1*"}}));
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:2..2* 3:0..1*"));
}

TEST(Scheduler, NobodyOvertakes) {
  SchedulerDriver driver({kBlockSize, 4, kPlenty, 0}, 8);
  driver.add(1, 20, 4);  // 5 blocks of 8
  driver.add(2, 16, 4);  // 4: not yet
  driver.add(3, 4, 4);   // 1 would fit
  const std::string overtaken =
      "a request that fits overtakes one that does not: while small ones keep coming, a large one starves";
  EXPECT_TRUE(says(driver.text(), "1:0..19*", {{overtaken, "1:0..19* 3:0..3*"}}));
  EXPECT_TRUE(says(driver.text(), "1:20..20*", {{overtaken, "1:20..20* 3:0..3*"}}));
  EXPECT_EQ(text_of(driver.scheduler().waiting()), "2 3");
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:0..15* 3:0..3*"));
}

TEST(Scheduler, AdmissionLeavesTheWatermarkFree) {
  SchedulerDriver driver({kBlockSize, 8, kPlenty, 2}, 10);
  driver.add(1, 16, 9);
  driver.add(2, 16, 9);  // leaves 2 blocks: enough
  driver.add(3, 1, 9);   // would leave 1
  EXPECT_TRUE(says(driver.text(), "1:0..15* 2:0..15*",
                   {{"the watermark is ignored", "1:0..15* 2:0..15* 3:0..0*"},
                    {"an admission must leave more than the watermark; as much is enough", "1:0..15*"}}));
  EXPECT_TRUE(says(driver.text(), "1:16..16* 2:16..16*",
                   {{"the watermark is kept free of running requests, too: it is there for them",
                     "1:16..16* | preempted 2"}}));
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:17..17* 3:0..0*"));
}

TEST(Scheduler, WithoutOthersTheWatermarkDoesNotCount) {
  SchedulerDriver driver({kBlockSize, 8, kPlenty, 2}, 4);
  driver.add(1, 12, 5);
  driver.add(2, 1, 5);
  EXPECT_TRUE(says(driver.text(), "1:0..11*",
                   {{"the watermark counts although nothing runs: a request that needs more than it leaves "
                     "waits for ever, and everybody behind it",
                     "nothing"},
                    {"the watermark is ignored, or does not count in a whole step that began without running "
                     "requests; it counts as soon as somebody was admitted",
                     "1:0..11* 2:0..0*"}}));
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:0..0*"));
}

TEST(Scheduler, TheLastAdmittedIsPreempted) {
  SchedulerDriver driver({kBlockSize, 4, kPlenty, 0}, 6);
  for (const int id : {1, 2, 3}) driver.add(id, 4, 9);
  EXPECT_TRUE(says(driver.text(), "1:0..3* 2:0..3* 3:0..3*"));
  for (const int pos : {4, 5, 6, 7}) {
    SCOPED_TRACE(pos);
    EXPECT_EQ(driver.step().chunks.size(), 3U);
  }
  EXPECT_EQ(driver.used_blocks(), 6);
  // Now each needs a third block. Request 1 gets one of request 3's two, request 2 the other.
  EXPECT_TRUE(
      says(driver.text(), "1:8..8* 2:8..8* | preempted 3",
           {{"the request that was admitted first is preempted", "2:8..8* 3:8..8* | preempted 1"},
            {"the request that needs a block is preempted, whoever it is", "2:8..8* | preempted 1 3"}}));
  EXPECT_EQ(text_of(driver.scheduler().running()), "1 2");
  EXPECT_EQ(text_of(driver.scheduler().waiting()), "3");
}

TEST(Scheduler, APreemptedRequestIsTheFirstToReturn) {
  SchedulerDriver driver({kBlockSize, 3, kPlenty, 0}, 6);
  for (const int id : {1, 2, 3}) driver.add(id, 4, 9);
  driver.add(4, 1, 9);  // waits, because three run
  while (driver.step().preempted.empty()) {
    ASSERT_LT(driver.requests().at(1).n_computed, 9) << "nobody is preempted";
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_TRUE(says(
      text_of(driver.scheduler().waiting()), "3 4",
      {{"a preempted request goes to the back of the waiting ones, behind all that came later", "4 3"}}));
  driver.finish(1);
  EXPECT_TRUE(
      says(driver.text(), "2:9..9* 3:0..8*",
           {{"a preempted request goes to the back of the waiting ones", "2:9..9* 4:0..0*"},
            {"a preempted request has forgotten what it had written", "2:9..9* 3:0..3* 4:0..0*"},
            {"a preempted request goes on where it was, but its blocks are gone", "2:9..9* 3:8..8*"}}));
}

TEST(Scheduler, APreemptedRequestRunsAllItsTokensAgain) {
  SchedulerDriver driver({kBlockSize, 2, 6, 0}, 3);
  driver.add(1, 6, 5);
  driver.add(2, 2, 5);
  EXPECT_TRUE(says(driver.text(), "1:0..5*"));
  EXPECT_TRUE(says(driver.text(), "1:6..6* 2:0..1*"));
  EXPECT_TRUE(says(driver.text(), "1:7..7* 2:2..2*"));
  EXPECT_TRUE(says(driver.text(), "1:8..8* | preempted 2"));  // with the token of its last step, 4 are known
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:0..3*",
                   {{"a preempted request has forgotten what it had written", "2:0..1*"},
                    {"the token that was written last is lost", "2:0..2*"}}));
  EXPECT_TRUE(says(driver.text(), "2:4..4*"));
  EXPECT_EQ(driver.requests().at(2).n_run, 3 + 5) << "3 tokens before and 5 after the preemption";
}

TEST(Scheduler, RecomputationRunsInChunksToo) {
  SchedulerDriver driver({kBlockSize, 2, 4, 0}, 4);
  driver.add(1, 3, 11);
  driver.add(2, 4, 11);
  EXPECT_TRUE(says(driver.text(), "1:0..2* 2:0..0"));
  EXPECT_TRUE(says(driver.text(), "1:3..3* 2:1..3*"));
  for (const int pos : {4, 5, 6, 7}) {
    SCOPED_TRACE(pos);
    EXPECT_EQ(driver.step().chunks.size(), 2U);
  }
  EXPECT_TRUE(says(driver.text(), "1:8..8* | preempted 2"));
  driver.finish(1);
  EXPECT_TRUE(
      says(driver.text(), "2:0..3", {{"a preempted request has forgotten what it had written", "2:0..3*"}}));
  EXPECT_TRUE(says(driver.text(), "2:4..7", {{"samples is set for every chunk", "2:4..7*"}}));
  EXPECT_TRUE(says(driver.text(), "2:8..8*"));
}

TEST(Scheduler, APromptMayBePreemptedBetweenItsChunks) {
  SchedulerDriver driver({kBlockSize, 2, 2, 0}, 3);
  driver.add(1, 2, 9);
  driver.add(2, 8, 3);
  EXPECT_TRUE(says(driver.text(), "1:0..1*"));
  EXPECT_TRUE(says(driver.text(), "1:2..2* 2:0..0"));
  EXPECT_TRUE(says(driver.text(), "1:3..3* 2:1..1"));
  EXPECT_TRUE(says(driver.text(), "1:4..4* | preempted 2"));
  EXPECT_TRUE(says(driver.text(), "1:5..5*"));
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:0..1"));
}

TEST(Scheduler, SeveralPreemptedInOneStepKeepTheirOrder) {
  SchedulerDriver driver({kBlockSize, 5, kPlenty, 0}, 4);
  for (const int id : {1, 2, 3, 4}) driver.add(id, 4, 5);
  driver.add(5, 1, 5);
  EXPECT_TRUE(says(driver.text(), "1:0..3* 2:0..3* 3:0..3* 4:0..3*"));
  EXPECT_TRUE(says(driver.text(), "1:4..4* 2:4..4* | preempted 4 3"));
  EXPECT_TRUE(says(text_of(driver.scheduler().waiting()), "3 4 5",
                   {{"those that are preempted in one step return in reverse order", "4 3 5"},
                    {"a preempted request goes to the back of the waiting ones", "5 4 3"}}));
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:5..5* 3:0..4*"));
}

TEST(Scheduler, WhoNeedsABlockMayBeTheOneToGo) {
  SchedulerDriver driver({kBlockSize, 4, kPlenty, 0}, 3);
  driver.add(1, 5, 8);
  driver.add(2, 4, 8);
  EXPECT_TRUE(says(driver.text(), "1:0..4* 2:0..3*"));
  EXPECT_TRUE(says(
      driver.text(), "1:5..5* | preempted 2",
      {{"another request is preempted for the one that was admitted last, which must go itself",
        "2:4..4* | preempted 1"},
       {"a request is preempted whose chunk is already part of this step", "1:5..5* 2:4..4* | preempted 1"},
       {"a request that was preempted gets a chunk in the same step", "1:5..5* 2:0..4* | preempted 2"}}));
  // The block that it left is not enough for its 5 tokens, so the two do not chase each other.
  EXPECT_TRUE(says(driver.text(), "1:6..6*"));
  EXPECT_TRUE(says(driver.text(), "1:7..7*"));
  EXPECT_TRUE(says(driver.text(), "1:8..8*"));
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:0..4*"));
}

TEST(Scheduler, ARequestMayTakeAllBlocks) {
  SchedulerDriver driver({kBlockSize, 4, kPlenty, 1}, 3);
  driver.add(1, 5, 8);  // 12 tokens, since the last is not fed back: exactly 3 blocks
  driver.add(2, 1, 1);
  EXPECT_TRUE(says(driver.text(), "1:0..4*"));
  for (int pos = 5; pos < 12; ++pos) {
    EXPECT_TRUE(says(driver.text(), fmt::format("1:{0}..{0}*", pos)));
  }
  EXPECT_EQ(driver.used_blocks(), 3);
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "2:0..0*"));
}

TEST(Scheduler, WhatCanNeverFitIsRefusedAndOthersGoOn) {
  SchedulerDriver driver({kBlockSize, 4, kPlenty, 0}, 3);
  constexpr int kHuge = std::numeric_limits<int>::max();
  driver.add(1, 5, 8);
  EXPECT_TRUE(throws_error([&] { driver.add(22, 5, 9); }, "22")) << "13 tokens, 12 places";
  EXPECT_TRUE(throws_error([&] { driver.add(23, 13, 1); }, "23"));
  EXPECT_TRUE(throws_error([&] { driver.add(24, kHuge, kHuge); }, "24")) << "the sum exceeds an int";
  EXPECT_EQ(text_of(driver.scheduler().waiting()), "1");
  EXPECT_TRUE(says(driver.text(), "1:0..4*"));
  EXPECT_TRUE(throws_error([&] { driver.add(22, 1, 13); }, "22"));
  driver.add(22, 12, 1);  // nothing of the refused one was kept
  EXPECT_TRUE(says(driver.text(), "1:5..5*"));
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "22:0..11*"));
}

TEST(Scheduler, ARequestMayEndInAnyState) {
  SchedulerDriver driver({kBlockSize, 3, 8, 0}, 6);
  driver.add(1, 4, 9);
  driver.add(2, 4, 9);
  driver.add(3, 6, 9);
  driver.add(4, 4, 9);
  driver.add(5, 4, 9);
  driver.finish(4);  // before anything has run
  EXPECT_EQ(text_of(driver.scheduler().waiting()), "1 2 3 5");
  EXPECT_TRUE(says(driver.text(), "1:0..3* 2:0..3*"));
  EXPECT_TRUE(says(driver.text(), "1:4..4* 2:4..4* 3:0..5*"));
  driver.finish(2);  // sampled, not answered; from the middle of the running ones
  EXPECT_TRUE(says(driver.text(), "1:5..5* 3:6..6* 5:0..3*"));
  EXPECT_EQ(driver.used_blocks(), 2 + 2 + 1);
  driver.add(2, 8, 2);  // the id is free again
  EXPECT_TRUE(says(driver.text(), "1:6..6* 3:7..7* 5:4..4*"));
  EXPECT_TRUE(says(driver.text(), "1:7..7* 3:8..8* | preempted 5"));
  driver.finish(5);  // preempted
  EXPECT_EQ(text_of(driver.scheduler().waiting()), "2");
  driver.finish(1);
  EXPECT_TRUE(says(driver.text(), "3:9..9* 2:0..6"));
  driver.finish(2);  // in the middle of its prompt
  driver.finish(3);
  EXPECT_TRUE(says(driver.text(), "nothing"));
  EXPECT_EQ(driver.used_blocks(), 0);
}

TEST(Scheduler, RefusesWhatBreaksTheProtocol) {
  SchedulerDriver driver({kBlockSize, 4, 8, 0}, kPlenty);
  kit::Scheduler& scheduler = driver.scheduler();
  EXPECT_TRUE(throws_error([&] { scheduler.append_token(11); }, "11"));
  EXPECT_TRUE(throws_error([&] { scheduler.finish(11); }, "11"));
  driver.add(11, 5, 3);
  driver.add(12, 6, 9);
  EXPECT_TRUE(throws_error([&] { scheduler.add(11, 1, 1); }, "11")) << "it waits";
  EXPECT_TRUE(throws_error([&] { scheduler.append_token(11); }, "11")) << "it waits";
  EXPECT_TRUE(throws_error([&] { scheduler.add(13, 0, 1); }, "0"));
  EXPECT_TRUE(throws_error([&] { scheduler.add(13, 1, 0); }, "0"));
  EXPECT_TRUE(throws_error([&] { scheduler.add(13, -7, 1); }, "-7"));

  EXPECT_TRUE(says(driver.text(), "11:0..4* 12:0..2"));
  EXPECT_TRUE(throws_error([&] { scheduler.add(11, 1, 1); }, "11")) << "it runs";
  EXPECT_TRUE(throws_error([&] { scheduler.schedule(); }, "11")) << "it sampled, and was not answered";
  EXPECT_TRUE(throws_error([&] { scheduler.append_token(12); }, "12")) << "half of its prompt has run";
  EXPECT_TRUE(says(driver.text(), "11:5..5* 12:3..5*"));  // after one append_token(11)
  scheduler.append_token(12);
  EXPECT_TRUE(throws_error([&] { scheduler.append_token(12); }, "12")) << "for the second time";
  EXPECT_TRUE(throws_error([&] { scheduler.schedule(); }, "11"));
  scheduler.finish(12);
  EXPECT_TRUE(throws_error([&] { scheduler.finish(12); }, "12")) << "for the second time";
  EXPECT_EQ(text_of(scheduler.running()), "11");
  scheduler.append_token(11);
  EXPECT_EQ(text_of(scheduler.schedule()), "11:6..6*");
  EXPECT_TRUE(throws_error([&] { scheduler.append_token(11); }, "11"))
      << "the third of three tokens ends the request, there is no place for another";
  scheduler.finish(11);
  EXPECT_EQ(driver.used_blocks(), 0);
  EXPECT_EQ(text_of(scheduler.schedule()), "nothing");
}

TEST(Scheduler, APreemptedRequestHasNothingToAnswer) {
  SchedulerDriver driver({kBlockSize, 4, kPlenty, 0}, 3);
  driver.add(1, 5, 8);
  driver.add(2, 4, 8);
  driver.step();
  EXPECT_TRUE(says(driver.text(), "1:5..5* | preempted 2"));
  EXPECT_TRUE(throws_error([&] { driver.scheduler().append_token(2); }, "2"));
  EXPECT_TRUE(throws_error([&] { driver.scheduler().add(2, 1, 1); }, "2"));
  EXPECT_TRUE(says(driver.text(), "1:6..6*"));
}

TEST(Scheduler, RejectsImpossibleConfig) {
  const auto make = [](const lab03::SchedulerConfig& config) {
    return lab03::make_scheduler(config, kit::make_reference_block_allocator(4));
  };
  EXPECT_TRUE(throws_error([&] { make({0, 4, 8, 0}); }, "0"));
  EXPECT_TRUE(throws_error([&] { make({-3, 4, 8, 0}); }, "-3"));
  EXPECT_TRUE(throws_error([&] { make({4, -5, 8, 0}); }, "-5"));
  EXPECT_TRUE(throws_error([&] { make({4, 23, 17, 0}); }, "17")) << "less than max_num_seqs";
  EXPECT_TRUE(throws_error([&] { make({4, 4, 8, -6}); }, "-6"));
  EXPECT_TRUE(throws_error([] { lab03::make_scheduler({4, 4, 8, 0}, nullptr); }));
  EXPECT_NO_THROW(make({4, 8, 8, 5})) << "a watermark of more than all blocks: one request at a time";
}

}  // namespace

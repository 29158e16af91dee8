#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <set>
#include <string>
#include <vector>

#include "grader/figure.h"
#include "grader/html_report.h"
#include "sample_results.h"

namespace {

pugi::xml_document parse(const std::string& text) {
  pugi::xml_document document;
  const pugi::xml_parse_result result =
      document.load_string(text.c_str(), pugi::parse_default | pugi::parse_doctype | pugi::parse_ws_pcdata);
  EXPECT_TRUE(result) << result.description() << " at "
                      << text.substr(static_cast<std::size_t>(result.offset), 80);
  return document;
}

TEST(Html, IsWellFormedAndSelfContained) {
  const std::string html = grader::to_html(grader_tests::sample_results());
  const pugi::xml_document document = parse(html);
  EXPECT_TRUE(document.child("html").child("body"));
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("href="), std::string::npos);
  EXPECT_EQ(html.find("src="), std::string::npos);
  EXPECT_EQ(html.find("url("), std::string::npos);
}

TEST(Html, ShowsMessagesAsText) {
  const pugi::xml_document document = parse(grader::to_html(grader_tests::sample_results()));
  bool found = false;
  for (const pugi::xpath_node& pre : document.select_nodes("//pre")) {
    found |= std::string(pre.node().text().get()) == "got <b>\"1\" & 2</b>\n]]> second line";
  }
  EXPECT_TRUE(found);
}

TEST(Html, HoldsTheFigureAndTheScore) {
  const pugi::xml_document document = parse(grader::to_html(grader_tests::sample_results()));
  EXPECT_EQ(document.select_nodes("//figure/*[local-name()='svg']//*[local-name()='polyline']").size(), 2U);
  EXPECT_STREQ(document.select_node("//div[@class='score']/strong").node().text().get(), "25");
  EXPECT_EQ(document.select_nodes("//*[@class='notice']").size(), 0U);
}

TEST(Html, TaskMayHaveAFigureAsWideAsTheTable) {
  grader::Results results = grader_tests::sample_results();
  results.tasks[0].figure = results.milestones[0].figure;
  const pugi::xml_document document = parse(grader::to_html(results));
  EXPECT_EQ(
      document.select_nodes("//tr[@class='figure']/td[@colspan='4']/figure/*[local-name()='svg']").size(),
      1U);
}

TEST(Html, SaysLoudlyWhenPointsAreUndecided) {
  grader::Results results = grader_tests::sample_results();
  results.tasks[0].verdict = grader::Verdict::kInconclusive;
  results.tasks[0].points = 0;
  const pugi::xml_document document = parse(grader::to_html(results));
  const std::string notice = document.select_node("//*[@class='notice']").node().text().get();
  EXPECT_NE(notice.find("15 of the missing points are undecided"), std::string::npos) << notice;
}

TEST(Html, RecordNamesTheSubmissionAndIsStampedWhenUnsafe) {
  const pugi::xml_document document = parse(grader::to_html(grader_tests::sample_record()));
  EXPECT_STREQ(document.select_node("/html/head/title").node().text().get(),
               "alice & bob <2>.zip: 25 of 105 points (UNSAFE)");
  EXPECT_STREQ(document.select_node("//p[@class='unsafe']/strong").node().text().get(), "UNSAFE");
  for (const char* value : {"alice & bob <2>.zip", "record", "7", "none (unsafe)"}) {
    const std::string query = std::string("//dl[@class='machine']/dd[.='") + value + "']";
    EXPECT_FALSE(document.select_nodes(query.c_str()).empty()) << query;
  }
  const pugi::xml_document safe = parse(grader::to_html(grader_tests::sample_undecided_record()));
  EXPECT_TRUE(safe.select_nodes("//*[@class='unsafe']").empty());
  EXPECT_TRUE(parse(grader::to_html(grader_tests::sample_results()))
                  .select_nodes("//table[@class='submission']")
                  .empty());
}

TEST(Html, RecordListsFilesStubsAndRefusals) {
  const pugi::xml_document document = parse(grader::to_html(grader_tests::sample_record()));
  const auto count = [&](const char* query) { return document.select_nodes(query).size(); };
  EXPECT_EQ(count("//tr[td='lab02']/td[2]/code[.='a.cpp']"), 1U);
  EXPECT_EQ(count("//tr[td='lab02']/td[3]/code"), 2U);
  EXPECT_EQ(count("//tr[td/code='../../etc/passwd']/td[2][contains(., '..')]"), 1U);
}

TEST(Html, UndecidedPointsAreNoZero) {
  const pugi::xml_document document = parse(grader::to_html(grader_tests::sample_undecided_record()));
  EXPECT_EQ(document.select_nodes("//span[@class='points'][b='?']").size(), 2U);
  EXPECT_EQ(document.select_nodes("//p[starts-with(., 'These points are neither won nor lost')]").size(), 2U);
}

TEST(Html, QuotesTheCompilerOnce) {
  const pugi::xml_document document = parse(grader::to_html(grader_tests::sample_record()));
  EXPECT_EQ(document.select_nodes("//pre[contains(., 'was not declared')]").size(), 1U);
}

TEST(Html, ManyRefusalsAreCut) {
  grader::Results results = grader_tests::sample_record();
  results.record->refusals.assign(2000, {"x", "not one of the lab's src/ files"});
  const pugi::xml_document document = parse(grader::to_html(results));
  EXPECT_EQ(document.select_nodes("//td[@class='files']/code[.='x']").size(), 100U);
  EXPECT_EQ(document.select_nodes("//td[.='and 1900 more: see the JSON']").size(), 1U);
}

TEST(Figure, IsAStandAloneSvg) {
  const std::string svg = grader::figure_svg(*grader_tests::sample_results().milestones[0].figure);
  const pugi::xml_document document = parse(svg);
  EXPECT_STREQ(document.child("svg").attribute("xmlns").value(), "http://www.w3.org/2000/svg");
  EXPECT_STREQ(document.child("svg").child("title").text().get(), "Tokens & time");
}

TEST(Figure, LeavesOutLinesWithoutData) {
  const grader::LineChart chart{"t", "x", "y", {{"empty", "", {}, {}}, {"ragged", "", {1, 2}, {1}}}};
  EXPECT_EQ(grader::figure_svg(chart).find("polyline"), std::string::npos);
}

TEST(Figure, LogAxesAndPoints) {
  grader::LineChart chart;
  chart.title = "t";
  chart.x_scale = chart.y_scale = grader::AxisScale::kLog;
  chart.lines = {{"roof", "", {1, 10, 100}, {10, 100, 100}},
                 {"measured", "", {1, 10}, {10, 100}, grader::LineStyle::kPoints, {7, 8}},
                 {"zero has no place", "", {0, 1}, {1, 1}}};
  const pugi::xml_document document = parse(grader::figure_svg(chart));
  EXPECT_EQ(document.select_nodes("//polyline").size(), 1U);
  // The end of the line, two points, and the points' entry in the legend.
  EXPECT_EQ(document.select_nodes("//circle").size(), 4U);
  EXPECT_EQ(document.select_nodes("//text[.='7']").size(), 1U);
  // Decades are equally far apart: the roof's first two points and its ridge.
  EXPECT_STREQ(document.select_node("//polyline").node().attribute("points").value(),
               "78.0,370.0 389.0,84.0 700.0,84.0");
}

TEST(Figure, LegendsThatAreTooWideTakeMoreRows) {
  grader::LineChart chart{"wide", "x", "y", {}};
  for (int i = 0; i < 6; ++i) {
    chart.lines.push_back({fmt::format("line {} with quite a long name", i), "", {0, 1}, {0, 1.0 + i}});
  }
  const pugi::xml_document document = parse(grader::figure_svg(chart));
  std::set<std::string> rows;
  for (const auto& found : document.select_nodes("/svg/text[contains(., 'quite a long name')]")) {
    rows.insert(found.node().attribute("y").value());
    EXPECT_LT(found.node().attribute("x").as_double(), 560.0) << found.node().text().get();
  }
  EXPECT_EQ(rows.size(), 3U);
  // The plot makes room for them.
  EXPECT_STREQ(document.select_node("/svg/g").node().attribute("transform").value(), "translate(0 44)");
  EXPECT_EQ(document.child("svg").attribute("height").as_double(), 474.0);
}

grader::Timeline sample_timeline() {
  return {
      "Who & when",
      "step",
      "slot",
      "request",
      {{"first", {{0, 0, 0, 4}, {1, 7, 0, 10}, {0, 12, 4, 6}}}, {"second", {{0, 7, 0, 20}, {1, 8, 5, 20}}}}};
}

TEST(Figure, NumbersAtTheEndsOfLinesStandApart) {
  grader::LineChart chart{"ends", "x", "y", {}};
  for (const double end : {100.0, 99.0, 98.5, 10.0}) chart.lines.push_back({"line", "", {0, 1}, {0, end}});
  const pugi::xml_document document = parse(grader::figure_svg(chart));
  std::vector<double> heights;
  for (const auto& found : document.select_nodes("//text[@font-weight='600' and @text-anchor='start']")) {
    const std::string text = found.node().text().as_string();
    if (text != "ends") heights.push_back(found.node().attribute("y").as_double());
  }
  ASSERT_EQ(heights.size(), 4);
  EXPECT_GE(heights[1] - heights[0], 15.9);
  EXPECT_GE(heights[2] - heights[1], 15.9);
  EXPECT_GT(heights[3] - heights[2], 100) << "what has room stays where its line ends";
}

TEST(Timeline, DrawsABarARequestOnOneAxis) {
  const pugi::xml_document document = parse(grader::figure_svg(sample_timeline()));
  EXPECT_EQ(document.select_nodes("//rect/title").size(), 5U);
  // 20 steps are 658 units wide, and a bar is 1 unit narrower than its time.
  const auto width_of = [&](const char* name) {
    const std::string query = std::string("//rect[title='") + name + "']";
    return std::string(document.select_node(query.c_str()).node().attribute("width").value());
  };
  EXPECT_EQ(width_of("request 7: slot 0, steps 0 to 20"), "657.0");
  EXPECT_EQ(width_of("request 7: slot 1, steps 0 to 10"), "328.0");
  EXPECT_EQ(width_of("request 12: slot 0, steps 4 to 6"), "64.8");
  EXPECT_FALSE(document.select_nodes("//text[.='12']").empty()) << "the number is in the bar";
}

TEST(Timeline, OneNameHasOneColourAndSaysItsNumberWhereThereIsRoom) {
  grader::Timeline timeline = sample_timeline();
  timeline.panels[0].bars.push_back({1, 1234567, 10, 10.5});
  const pugi::xml_document document = parse(grader::figure_svg(timeline));
  const pugi::xpath_node_set seven = document.select_nodes("//rect[starts-with(title, 'request 7:')]");
  ASSERT_EQ(seven.size(), 2U);
  EXPECT_STREQ(seven[0].node().attribute("fill").value(), seven[1].node().attribute("fill").value());
  EXPECT_EQ(document.select_nodes("//text[.='7']").size(), 2U);
  EXPECT_TRUE(document.select_nodes("//text[.='1234567']").empty());
  EXPECT_EQ(document.select_nodes("//rect[starts-with(title, 'request 1234567:')]").size(), 1U);
}

TEST(Timeline, SaysHowBusyEachPanelIs) {
  const pugi::xml_document document = parse(grader::figure_svg(sample_timeline()));
  // 4 + 10 + 2 of 2 * 10, and 20 + 15 of 2 * 20.
  EXPECT_EQ(document.select_nodes("//text[.='10 steps, slots filled 80 % of the time']").size(), 1U);
  EXPECT_EQ(document.select_nodes("//text[.='20 steps, slots filled 88 % of the time']").size(), 1U);
  const std::string description = document.child("svg").child("desc").text().get();
  EXPECT_EQ(
      description,
      "first: 10 steps, slots filled 80 % of the time. second: 20 steps, slots filled 88 % of the time.");
  EXPECT_STREQ(document.child("svg").child("title").text().get(), "Who & when");
}

TEST(Timeline, LeavesOutWhatHasNoPlace) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  grader::Timeline timeline = sample_timeline();
  timeline.panels[0].bars = {{-1, 0, 0, 1}, {256, 0, 0, 1},  {0, -1, 0, 1},  {0, 0, 2, 2},  {0, 0, 3, 2},
                             {0, 0, -1, 1}, {0, 0, 0, 1e10}, {0, 0, nan, 1}, {0, 0, 0, nan}};
  EXPECT_TRUE(grader::drawable(timeline.panels[0]).empty());
  const pugi::xml_document document = parse(grader::figure_svg(timeline));
  EXPECT_EQ(document.select_nodes("//rect/title").size(), 2U);
  EXPECT_TRUE(document.select_nodes("//text[.='first']").empty());
  timeline.panels.clear();
  EXPECT_NE(grader::figure_svg(timeline).find("</svg>"), std::string::npos) << "a title and nothing else";
}

TEST(Timeline, FitsManyRows) {
  grader::Timeline timeline = sample_timeline();
  for (int row = 0; row < 256; ++row) timeline.panels[0].bars.push_back({row, row, 0, 5});
  const pugi::xml_document document = parse(grader::figure_svg(timeline));
  EXPECT_LT(std::stod(document.child("svg").attribute("height").value()), 2000.0);
}

TEST(Timeline, IsInThePageAndInTheJson) {
  grader::Results results = grader_tests::sample_results();
  results.milestones[0].figure = sample_timeline();
  const pugi::xml_document document = parse(grader::to_html(results));
  EXPECT_EQ(
      document.select_nodes("//figure/*[local-name()='svg']//*[local-name()='rect']/*[local-name()='title']")
          .size(),
      5U);
  const nlohmann::ordered_json json = grader::to_json(results);
  const nlohmann::ordered_json& series = json.at("milestones").at(0).at("series");
  ASSERT_EQ(series.size(), 2U);
  EXPECT_EQ(series.at(0).at("label"), "first");
  EXPECT_EQ(series.at(0).at("name"), (std::vector<int>{0, 7, 12}));
  EXPECT_EQ(series.at(0).at("end"), (std::vector<double>{4, 10, 6}));
}

TEST(Figure, LogTicksAreRoundAndCoverTheData) {
  EXPECT_EQ(grader::log_ticks(1, 100), (std::vector<double>{1, 2, 5, 10, 20, 50, 100}));
  EXPECT_EQ(grader::log_ticks(0.25, 31), (std::vector<double>{0.2, 0.5, 1, 2, 5, 10, 20, 50}));
  EXPECT_EQ(grader::log_ticks(3, 4), (std::vector<double>{2, 5}));
  EXPECT_EQ(grader::log_ticks(7, 7), (std::vector<double>{5, 10}));
  EXPECT_EQ(grader::log_ticks(1, 1), (std::vector<double>{1, 10}));
  EXPECT_EQ(grader::log_ticks(2, 90000), (std::vector<double>{1, 10, 100, 1000, 10000, 100000}));
}

TEST(Figure, TicksAreRoundAndCoverTheData) {
  EXPECT_EQ(grader::ticks(79, 5), (std::vector<double>{0, 20, 40, 60, 80}));
  EXPECT_EQ(grader::ticks(3040, 5), (std::vector<double>{0, 1000, 2000, 3000, 4000}));
  EXPECT_EQ(grader::ticks(100, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(grader::ticks(0, 5), (std::vector<double>{0, 1}));
}

}  // namespace

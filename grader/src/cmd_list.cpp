#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "grader/exit_status.h"
#include "grader/rubric.h"
#include "grader/table.h"

namespace grader {

namespace {

using Json = nlohmann::ordered_json;

Json lab_json(const Rubric& lab) {
  Json json = {{"lab", lab.id},
               {"title", lab.title},
               {"folder", lab.folder},
               {"chapter", lab.chapter},
               {"max_points", lab.max_points()},
               {"tasks", Json::array()},
               {"milestones", Json::array()}};
  for (const RubricTask& task : lab.tasks) {
    json["tasks"].push_back({{"task", task.id},
                             {"number", task.number},
                             {"title", task.title},
                             {"max_points", task.points},
                             {"open", task.open},
                             {"tests", task.tests}});
    if (task.stretch) json["tasks"].back()["stretch"] = true;
  }
  for (const RubricMilestone& milestone : lab.milestones) {
    json["milestones"].push_back({{"id", milestone.id},
                                  {"title", milestone.title},
                                  {"max_points", milestone.points},
                                  {"open", milestone.open},
                                  {"unit", milestone.unit},
                                  {"test", milestone.test}});
  }
  return json;
}

int run_list(bool as_json, const Context& context) {
  const std::vector<Rubric> labs = load_labs(context.root);
  if (!as_json) {
    fmt::print("{}", labs_table(labs, wants_color(stdout)));
    return kExitGraded;
  }
  Json json = {{"schema", "memory-wall-labs/labs/1"}, {"labs", Json::array()}};
  for (const Rubric& lab : labs) json["labs"].push_back(lab_json(lab));
  fmt::print("{}\n", json.dump(2));
  return kExitGraded;
}

}  // namespace

void add_list_command(CLI::App& app, Context& context) {
  const auto as_json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("list", "Labs, tasks, points, milestones and tests");
  command->add_flag("--json", *as_json, "As JSON");
  command->callback(
      [as_json, &context] { context.run = [as_json, &context] { return run_list(*as_json, context); }; });
}

}  // namespace grader

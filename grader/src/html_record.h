#pragma once

#include <initializer_list>
#include <string>

#include "grader/results.h"
#include "markup.h"

/// Parts of the HTML report.
namespace grader {

/// Appends a table with a head; returns its body.
inline pugi::xml_node append_table(pugi::xml_node parent, const std::string& css_class,
                                   std::initializer_list<const char*> columns) {
  pugi::xml_node table = append_element(append_element(parent, "div", "scroll"), "table", css_class);
  pugi::xml_node head = table.append_child("thead").append_child("tr");
  for (const char* name : columns) append_element(head, "th", "", name);
  return table.append_child("tbody");
}

/// Where the graded code of a run of record came from. Nothing for other results.
void append_submission(pugi::xml_node main, const Results& results);

}  // namespace grader

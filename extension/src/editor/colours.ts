// Which class each kind of word has; the colours, light and dark, are in code_editor.css.
import { tagHighlighter, tags } from "@lezer/highlight";

export const colours = tagHighlighter([
  { tag: [tags.keyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword, tags.operatorKeyword], class: "ce-keyword" },
  { tag: [tags.definition(tags.function(tags.variableName)), tags.definition(tags.className), tags.function(tags.definition(tags.variableName))], class: "ce-defined" },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName)], class: "ce-called" },
  { tag: [tags.string, tags.special(tags.string)], class: "ce-string" },
  { tag: [tags.number, tags.bool, tags.null], class: "ce-number" },
  { tag: [tags.comment, tags.lineComment], class: "ce-comment" },
  { tag: [tags.operator, tags.arithmeticOperator, tags.compareOperator, tags.definitionOperator], class: "ce-operator" },
  { tag: [tags.meta], class: "ce-decorator" },
]);

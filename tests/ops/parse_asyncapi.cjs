// Prints what AsyncAPI's own parser finds wrong with the document on standard input, a line each: severity and message.
const { Parser } = require("@asyncapi/parser");

new Parser().parse(require("fs").readFileSync(0, "utf8")).then(({ document, diagnostics }) => {
  for (const found of diagnostics) console.log(found.severity, found.path.join("."), found.message);
  if (!document) process.exit(1);
  console.error(document.operations().length);
});

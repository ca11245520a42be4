// Without `validatorUrl: null` the page would send the document to a public validator.
SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  defaultModelRendering: "model",
  defaultModelExpandDepth: 3,
  defaultModelsExpandDepth: 0,
});

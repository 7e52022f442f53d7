/** Text and its meaning, by rules: sanitizing, redaction, questions about documents, levels of context, prompts. Pure functions. */
@NullMarked
package io.millrace.text;

import org.jspecify.annotations.NullMarked;

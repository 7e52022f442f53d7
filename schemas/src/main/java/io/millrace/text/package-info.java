/** What happens to text before it is stored: sanitizing and redaction. Pure functions. */
@NullMarked
package io.millrace.text;

import org.jspecify.annotations.NullMarked;

/** Configuration: one typed tree; every key has a default, a range and a line of documentation. */
@NullMarked
package io.millrace.config;

import org.jspecify.annotations.NullMarked;

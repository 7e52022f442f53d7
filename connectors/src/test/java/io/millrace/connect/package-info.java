@NullMarked
package io.millrace.connect;

import org.jspecify.annotations.NullMarked;

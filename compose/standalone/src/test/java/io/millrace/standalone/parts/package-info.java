@NullMarked
package io.millrace.standalone.parts;

import org.jspecify.annotations.NullMarked;

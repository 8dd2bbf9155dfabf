//! Reading one column of a row group, batch by batch, whatever of several types a writer gave it.

use super::pages::Pages;
use ::parquet::basic::{Compression, ConvertedType, LogicalType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::serialized_reader::SerializedPageReader;
use ::parquet::schema::types::ColumnDescriptor;
use std::sync::Arc;

/// What is wrong with a file, in words.
pub(super) type Fault = String;

pub(super) fn fault(error: ParquetError) -> Fault {
    match error {
        ParquetError::General(text) | ParquetError::EOF(text) | ParquetError::NYI(text) => text,
        error => error.to_string(),
    }
}

/// A column of one row group.
pub(super) struct Column {
    name: String,
    reader: ColumnReader,
    nullable: bool,
    /// For integers: whether negative stored ones are big ones.
    unsigned: bool,
    levels: Vec<i16>,
}

impl Column {
    /// The column `name` of a row group; `None` if there is none.
    pub(super) fn open(pages: &Arc<Pages>, group: &RowGroupMetaData, name: &str) -> Result<Option<Self>, Fault> {
        let Some(chunk) = group.columns().iter().find(|chunk| chunk.column_path().string() == name) else {
            return Ok(None);
        };
        let descriptor = chunk.column_descr_ptr();
        if descriptor.max_rep_level() != 0 || descriptor.max_def_level() > 1 {
            return Err(format!("the column \"{name}\" is nested"));
        }
        if descriptor.type_scale() > 0 {
            return Err(format!("the column \"{name}\" has fractions"));
        }
        match chunk.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_) => {}
            other => {
                let name = other.to_string();
                let codec = name.split('(').next().unwrap_or_default();
                return Err(format!("it is compressed with {codec}; write it with zstd or snappy, or not compressed"));
            }
        }
        let rows = usize::try_from(group.num_rows()).map_err(|error| error.to_string())?;
        let (start, length) = (chunk.data_page_offset(), chunk.compressed_size());
        if start < 0 || length < 0 || chunk.dictionary_page_offset().is_some_and(|offset| offset < 0) {
            return Err(format!("the column \"{name}\" lies outside the file"));
        }
        let reader = SerializedPageReader::new(Arc::clone(pages), chunk, rows, None).map_err(fault)?;
        Ok(Some(Self {
            name: name.into(),
            nullable: descriptor.max_def_level() == 1,
            unsigned: is_unsigned(&descriptor),
            reader: get_column_reader(descriptor, Box::new(reader)),
            levels: Vec::new(),
        }))
    }

    fn wrong_type<T>(&self, wanted: &str) -> Result<T, Fault> {
        Err(format!("the column \"{}\" is not {wanted}", self.name))
    }

    /// The next `rows` texts; a null is empty.
    pub(super) fn texts(&mut self, rows: usize, texts: &mut Vec<ByteArray>) -> Result<(), Fault> {
        let Self { name, reader, nullable, levels, .. } = self;
        match reader {
            ColumnReader::ByteArrayColumnReader(reader) => read(name, reader, *nullable, levels, rows, texts),
            _ => self.wrong_type("text"),
        }
    }

    /// The next `rows` truth values; a null is `false`.
    pub(super) fn bools(&mut self, rows: usize, bools: &mut Vec<bool>) -> Result<(), Fault> {
        let Self { name, reader, nullable, levels, .. } = self;
        match reader {
            ColumnReader::BoolColumnReader(reader) => read(name, reader, *nullable, levels, rows, bools),
            _ => self.wrong_type("boolean"),
        }
    }

    /// The next `rows` whole numbers; a null is 0.
    pub(super) fn numbers(&mut self, rows: usize, numbers: &mut Vec<u64>) -> Result<(), Fault> {
        let Self { name, reader, nullable, levels, unsigned } = self;
        numbers.clear();
        let (nullable, unsigned) = (*nullable, *unsigned);
        let mut negative = false;
        match reader {
            ColumnReader::Int32ColumnReader(reader) => {
                let mut values = Vec::new();
                read(name, reader, nullable, levels, rows, &mut values)?;
                negative = !unsigned && values.iter().any(|&value| value < 0);
                numbers.extend(values.into_iter().map(|value| u64::from(value.cast_unsigned())));
            }
            ColumnReader::Int64ColumnReader(reader) => {
                let mut values = Vec::new();
                read(name, reader, nullable, levels, rows, &mut values)?;
                negative = !unsigned && values.iter().any(|&value| value < 0);
                numbers.extend(values.into_iter().map(i64::cast_unsigned));
            }
            // What engines make of the sum of 64-bit numbers: DECIMAL(20, 0), big-endian.
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                let mut values = Vec::new();
                read(name, reader, nullable, levels, rows, &mut values)?;
                for value in values {
                    let bytes = value.data();
                    negative |= bytes.first().is_some_and(|byte| byte & 0x80 != 0);
                    let significant = bytes.iter().skip_while(|byte| **byte == 0);
                    if significant.clone().count() > 8 {
                        return Err(format!("a number in the column \"{name}\" has more than 64 bits"));
                    }
                    numbers.push(significant.fold(0, |number, byte| number << 8 | u64::from(*byte)));
                }
            }
            _ => return self.wrong_type("of whole numbers; CAST it AS DECIMAL(20, 0)"),
        }
        if negative { Err(format!("a number in the column \"{name}\" is negative")) } else { Ok(()) }
    }
}

fn is_unsigned(descriptor: &ColumnDescriptor) -> bool {
    let logical = matches!(descriptor.logical_type_ref(), Some(LogicalType::Integer(int)) if !int.is_signed);
    let converted = matches!(descriptor.converted_type(), ConvertedType::UINT_32 | ConvertedType::UINT_64);
    matches!(descriptor.physical_type(), Type::INT32 | Type::INT64) && (logical || converted)
}

/// Reads exactly `rows` values, with the type's default in the place of nulls.
fn read<T: DataType>(
    name: &str,
    reader: &mut ColumnReaderImpl<T>,
    nullable: bool,
    levels: &mut Vec<i16>,
    rows: usize,
    values: &mut Vec<T::T>,
) -> Result<(), Fault> {
    values.clear();
    levels.clear();
    let (records, _, _) = reader.read_records(rows, nullable.then_some(&mut *levels), None, values).map_err(fault)?;
    let short = || format!("the column \"{name}\" ends early");
    if records != rows || (!nullable && values.len() != rows) || (nullable && levels.len() != rows) {
        return Err(short());
    }
    if nullable && values.len() != rows {
        let mut present = std::mem::take(values).into_iter();
        for level in levels.iter() {
            values.push(if *level == 0 { T::T::default() } else { present.next().ok_or_else(short)? });
        }
    }
    Ok(())
}
